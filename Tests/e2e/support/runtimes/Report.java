// SPDX-License-Identifier: Apache-2.0

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;

/** What the JVM sees of its limits: a line of JSON at once, and one for each line of its input. */
public class Report {
  public static void main(String[] arguments) throws Exception {
    var input = new BufferedReader(new InputStreamReader(System.in));
    var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    do {
      var pool = (ForkJoinPool) Executors.newWorkStealingPool();
      System.out.printf(
          "{\"availableProcessors\": %d, \"newPool\": %d, \"commonPool\": %d, \"maxMemory\": %d,"
              + " \"beanProcessors\": %d, \"beanMemory\": %d, \"beanSwap\": %d}%n",
          Runtime.getRuntime().availableProcessors(), pool.getParallelism(),
          ForkJoinPool.getCommonPoolParallelism(), Runtime.getRuntime().maxMemory(),
          system.getAvailableProcessors(), system.getTotalMemorySize(),
          system.getTotalSwapSpaceSize());
      System.out.flush();
      pool.shutdown();
    } while (input.readLine() != null);
  }
}
