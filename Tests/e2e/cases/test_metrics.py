# SPDX-License-Identifier: Apache-2.0
"""`escra metrics`: what it says is what the kernel says, and real readers take it."""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

import cgroups
from processes import PATIENCE, is_alive, is_at_rest, kill, switches, wait_until
from world import ESCRA, REPOSITORY, escra_tool

MONITORING = os.path.join(REPOSITORY, "monitoring")
LINE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parsed(text):
    """{name: [(labels, value)]} of the lines that are no comments."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = LINE.match(line).groups()
            found.setdefault(name, []).append((dict(LABEL.findall(labels or "")), float(value)))
    return found


def metrics(*arguments):
    return parsed(escra_tool("metrics", *arguments))


def value(name, made, found=None):
    """The value of a container's series; None where it has none."""
    found = metrics() if found is None else found
    [one] = [number for labels, number in found.get("escra_" + name, [])
             if labels.get("id") == made.id] or [None]
    return one


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus():
    """The directory of Prometheus' programs and of its client for Python."""
    found = subprocess.run(
        [os.path.join(REPOSITORY, "scripts/deps-prometheus")], capture_output=True, text=True)
    if found.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(found.stderr.strip())
    return found.stdout.strip()


@pytest.fixture
def promtool(prometheus):
    def run(*arguments, input=None):
        return subprocess.run(
            [f"{prometheus}/usr/bin/promtool", *arguments], input=input, capture_output=True,
            text=True, timeout=20)

    return run


@pytest.fixture
def serve(world):
    """Starts `escra metrics --listen`, and waits until it listens."""

    def start(address):
        process = world.spawn(subprocess.Popen([ESCRA, "metrics", "--listen", address]))
        wait_until(lambda: process.poll() is not None or reaches(address), 2, "it listens")
        assert process.poll() is None
        return process

    return start


def connected(address):
    kind, _, path = address.partition(":")
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        target = path
    else:
        host, _, port = address.rpartition(":")
        client = socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
        target = (host.strip("[]"), int(port))
    client.settimeout(5 * PATIENCE)
    client.connect(target)
    return client


def reaches(address):
    try:
        connected(address).close()
    except OSError:
        return False
    return True


def scraped(address, accept="text/plain", path="/metrics"):
    """(head, body) of a scrape."""
    with connected(address) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    return head.decode(), body.decode()


@pytest.fixture
def varied(container):
    """Containers of all kinds: alone, in an application with memory, observed, released."""
    made = [
        container({"io.escra.cpu.max": "600m", "io.escra.memory.min": "16Mi"}),
        container({"io.escra.app": "shop", "io.escra.memory.min": "16Mi"}),
        container({"io.escra.app": "shop", "io.escra.memory.min": "16Mi"}),
        container(policy="observe"),
        container(),
    ]
    for one in made:
        one.bundle.give_memory(64 << 20)
        one.started().supervisor()
    escra_tool("release", made[-1].id)
    return made


@pytest.mark.v2
def test_metrics_say_what_the_kernel_says(container):
    """Limits and use in base units; what is not known has no series."""
    made = container({"io.escra.cpu.max": "600m", "io.escra.memory.min": "16Mi"})
    made.bundle.give_memory(128 << 20)
    made.started().supervisor()
    none = container(policy="observe", quota=-1).started()
    none.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    found = metrics()
    assert value("container_cpu_limit_cores", made, found) == 0.6
    assert value("container_cpu_limit_max_cores", made, found) == 0.6
    assert value("container_cpu_declared_cores", made, found) == 0.2
    assert value("container_memory_declared_bytes", made, found) == 128 << 20
    assert value("container_memory_limit_bytes", made, found) == cgroups.memory_limit(made.cgroup)
    assert value("container_memory_limit_max_bytes", made, found) == 128 << 20
    assert 0 < value("container_memory_usage_bytes", made, found) < 128 << 20
    assert value("container_cpu_limit_raises_total", made, found) >= 1
    assert value("container_oom_kills_total", made, found) == 0
    assert value("container_supervised", made, found) == 1
    used = value("container_cpu_usage_seconds_total", made, found)
    assert 0 < used and wait_until(
        lambda: value("container_cpu_usage_seconds_total", made) > used, 2)
    assert value("container_cpu_limit_cores", none, found) is None
    assert value("container_cpu_declared_cores", none, found) is None
    assert value("container_cpu_usage_seconds_total", none, found) > 0
    [build] = found["escra_build_info"]
    assert build[0]["version"] in escra_tool("--version") and build[1] == 1


def test_applications_have_a_limit_and_what_is_granted_of_it(varied):
    """As `escra app` says, which asks the broker."""
    [shop] = json.loads(escra_tool("app", "--json"))

    def agrees():
        found = metrics()
        [limit], [granted] = (
            found[f"escra_application_cpu_{name}_cores"] for name in ("limit", "granted"))
        [shop] = json.loads(escra_tool("app", "--json"))
        assert limit[0]["application"] == "shop"
        return (limit[1], granted[1]) == (shop["cpu"]["limit"], shop["cpu"]["granted"])

    wait_until(agrees, 4, "both agree")
    found = metrics()
    assert found["escra_application_members"][0][1] == 2
    assert found["escra_application_memory_limit_bytes"][0][1] == 128 << 20
    states = {labels["state"]: number for labels, number in found["escra_containers"]}
    assert states == {"starting": 0, "supervised": 4, "unsupervised": 0, "released": 1}
    assert value("container_supervised", varied[-1], found) is None


def test_promtool_has_nothing_to_say(varied, promtool):
    """Of either container's metrics, and there are no two series with the same labels."""
    text = escra_tool("metrics")
    checked = promtool("check", "metrics", input=text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(series) == len(set(series)) > 50


def test_openmetrics_is_what_its_specification_says(varied, prometheus):
    """By the reference parser, which is strict about names, units, order and the end."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys\n"
         "from prometheus_client.openmetrics import parser\n"
         "print([f.name for f in parser.text_string_to_metric_families(sys.stdin.read())])"],
        input=escra_tool("metrics", "--openmetrics"), capture_output=True, text=True,
        env={"PYTHONPATH": f"{prometheus}/usr/lib/python3/dist-packages"})
    assert done.returncode == 0, done.stderr
    assert "'escra_container_cpu_throttled_seconds'" in done.stdout


@pytest.mark.v2
def test_counters_survive_a_killed_supervisor(container):
    """The next supervisor goes on from what the killed one had counted; the restart is counted."""
    made = container({"io.escra.cpu.max": "600m", "io.escra.memory.min": "16Mi"})
    made.bundle.give_memory(64 << 20)
    made.started()
    pid = made.supervisor()
    made.work(2)
    made.wait_for_quota(lambda quota: quota == 60_000, 4, "up to the ceiling")
    wait_until(
        lambda: value("container_memory_limit_returns_total", made), 4, "memory was lowered")
    names = [name for name in metrics() if name.endswith("_total")]
    before = {name: value(name[6:], made) for name in names}
    assert before["escra_container_cpu_limit_raises_total"] >= 1
    assert before["escra_container_supervisor_restarts_total"] == 0
    kill(pid)
    wait_until(lambda: not is_alive(pid), 2, "it is dead")
    assert made.supervisor() != pid
    wait_until(
        lambda: value("container_supervisor_restarts_total", made) == 1, 2, "it was counted")
    found = metrics()
    for name, number in before.items():
        assert value(name[6:], made, found) >= number, name
    assert value("container_supervised", made, found) == 1


def test_a_strict_container_has_cpus_and_restarts(container):
    """Its CPU limit does not move, so that nothing is counted of it."""
    if not cgroups.has_cpuset() or os.cpu_count() < 2:
        pytest.skip("no CPUs of its own to be had")
    made = container(policy="strict", quota=100_000).started()
    pid = made.supervisor()
    found = metrics()
    assert value("container_exclusive_cpus", made, found) == 1
    assert value("container_cpu_limit_raises_total", made, found) is None
    kill(pid)
    wait_until(
        lambda: value("container_supervisor_restarts_total", made) == 1, 4, "it was counted")


def test_an_idle_supervisor_is_not_woken(container, serve, world):
    """By neither way to read them."""
    made = container({"io.escra.app": "shop", "io.escra.memory.min": "16Mi"})
    made.bundle.give_memory(64 << 20)
    made.started()
    pid = made.supervisor()
    made.wait_for_quota(lambda quota: quota == 5_000, 4, "down to the floor")
    if made.states()[0]["source"].startswith("sampling"):
        pytest.skip("without an alarm it looks 20 times a second")
    address = "unix:" + world.path("socket")
    serve(address)
    wait_until(lambda: is_at_rest(pid), 10, "it sleeps")
    before = switches(pid)
    for _ in range(10):
        escra_tool("metrics", "--output", world.path("metrics.prom"))
        scraped(address)
    assert switches(pid) == before


def test_a_thousand_containers_take_less_than_a_second(container, world, record_property):
    """State files of a thousand, each with the cgroup of a real container."""
    made = container({"io.escra.app": "shop", "io.escra.memory.min": "16Mi"})
    made.bundle.give_memory(64 << 20)
    made.started().supervisor()
    [state] = made.states()
    root = world.path("state")
    for number in range(1000):
        directory = f"{root}/containers/{number:016x}/{number:x}"
        os.makedirs(directory)
        shutil.copy(os.path.join(state["directory"], "counters"), directory)
        with open(os.path.join(state["directory"], "state")) as source:
            text = source.read().replace(f"id={made.id}\n", f"id=container-{number}\n")
        with open(directory + "/state", "w") as file:
            file.write(text)
    shutil.copytree(
        "/run/escra/apps", root + "/apps",
        ignore=lambda parent, names: [
            name for name in names if not os.path.isdir(f"{parent}/{name}")
            and not os.path.isfile(f"{parent}/{name}") or name.startswith(".kill")])
    output = world.path("metrics.prom")
    times = []
    for _ in range(3):
        began = time.monotonic()
        escra_tool("metrics", "--state", root, "--output", output)
        times.append(time.monotonic() - began)
    with open(output) as file:
        found = parsed(file.read())
    assert len(found["escra_container_cpu_usage_seconds_total"]) == 1000
    record_property("1,000 containers", f"{min(times):.2f} s")
    assert min(times) < 1 * PATIENCE


def test_output_is_replaced_as_a_whole_and_readable(world):
    """Mode 0644 whatever the umask is; where it cannot be written, nothing changes."""
    path = world.path("escra.prom")
    with open(path, "w") as file:
        file.write("old")
    inode = os.stat(path).st_ino
    done = subprocess.run(
        ["sh", "-c", f'umask 077; exec "{ESCRA}" metrics --output "{path}"'], timeout=10)
    assert done.returncode == 0
    found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o644 and found.st_ino != inode
    assert glob.glob(path + "*") == [path]
    missing = world.path("missing/escra.prom")
    done = subprocess.run(
        [ESCRA, "metrics", "--output", missing], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: cannot open ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("address", [
    "0.0.0.0:9469", "[::]:9469", "10.0.0.1:9469", "localhost:9469", "127.0.0.1", "unix:relative"])
def test_what_other_machines_reach_is_not_listened_on(address):
    done = subprocess.run(
        [ESCRA, "metrics", "--listen", address], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and done.stdout == ""
    assert address in done.stderr and "127.0.0.1:PORT" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_format_is_what_the_scraper_accepts(container, serve, host):
    container().started().supervisor()
    if host == "[::1]" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("a machine without IPv6")
    address = f"{host}:{free_port()}"
    serve(address)
    head, body = scraped(address)
    assert head.startswith("HTTP/1.1 200 ") and "Content-Type: text/plain; version=0.0.4" in head
    assert not body.endswith("# EOF\n") and "escra_container_cpu_limit_cores{" in body
    head, body = scraped(address, "application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert "Content-Type: application/openmetrics-text; version=1.0.0" in head
    assert body.endswith("# EOF\n")
    assert scraped(address, path="/")[0].startswith("HTTP/1.1 404 ")


def test_bad_clients_keep_no_scraper_out(serve, world):
    """Silent ones, slow ones and ones that talk nonsense; SIGTERM ends it among them."""
    path = world.path("socket")
    address = "unix:" + path
    process = serve(address)
    silent = [connected(address) for _ in range(100)]
    for client in silent[::3]:
        # One too many is hung up on.
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
    for garbage in (b"\0" * 9000, b"\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n"):
        with connected(address) as client:
            client.sendall(garbage)
            assert client.recv(4096).startswith(b"HTTP/1.1 4")
    assert "escra_build_info" in scraped(address)[1]
    open_files = len(os.listdir(f"/proc/{process.pid}/fd"))
    assert open_files < 64 + 10
    process.send_signal(signal.SIGTERM)
    assert process.wait(1 * PATIENCE) == 0
    assert not os.path.exists(path)
    for client in silent:
        client.close()


def test_a_socket_belongs_to_one_server(serve, world):
    """A second one is refused, and takes over once the first was killed."""
    path = world.path("socket")
    first = serve("unix:" + path)
    done = subprocess.run(
        [ESCRA, "metrics", "--listen", "unix:" + path], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert done.stderr == f"Error: another process listens on {path}\n"
    first.kill()
    first.wait()
    assert os.path.exists(path)
    serve("unix:" + path)
    assert "escra_build_info" in scraped("unix:" + path)[1]
    other = world.path("file")
    with open(other, "w"):
        pass
    done = subprocess.run(
        [ESCRA, "metrics", "--listen", "unix:" + other], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "is not a socket" in done.stderr and os.path.exists(other)


def dashboard_queries():
    with open(os.path.join(MONITORING, "dashboard.json")) as file:
        panels = json.load(file)["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_prometheus_has_data_for_every_panel(varied, serve, prometheus, world):
    """It scrapes every second; each query of the dashboard answers with data."""
    port, own = free_port(), free_port()
    serve(f"127.0.0.1:{port}")
    config = world.path("prometheus.yml")
    with open(config, "w") as file:
        json.dump({
            "global": {"scrape_interval": "1s"},
            "rule_files": [os.path.join(MONITORING, "alerts.yml")],
            "scrape_configs": [{
                "job_name": "escra", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        }, file)
    with open(world.path("prometheus.log"), "w") as log:
        world.spawn(subprocess.Popen(
            [f"{prometheus}/usr/bin/prometheus", f"--config.file={config}",
             f"--storage.tsdb.path={world.path('tsdb')}", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log))

    def query(expression):
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                    f"http://127.0.0.1:{own}/api/v1/query?{words}", timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    varied[0].work(1)
    wait_until(
        lambda: query("count_over_time(escra_build_info[1m])")
        and float(query("count_over_time(escra_build_info[1m])")[0]["value"][1]) >= 3, 8,
        "three scrapes")
    empty = [
        (title, expression) for title, expression in dashboard_queries()
        if not query(expression.replace("$__rate_interval", "10s").replace("$container", ".*"))]
    assert empty == []
    assert {one["metric"]["job"] for one in query("up == 1")} == {"escra"}
    assert [one["metric"] for one in query("scrape_samples_scraped")]


def test_alert_rules_fire_when_they_should(promtool):
    checked = promtool("check", "rules", os.path.join(MONITORING, "alerts.yml"))
    assert checked.returncode == 0, checked
    tested = promtool("test", "rules", os.path.join(MONITORING, "alerts_test.yml"))
    assert tested.returncode == 0, tested


def test_the_page_names_each_metric():
    """And the dashboard and the rules name none that there is not."""
    with open(os.path.join(REPOSITORY, "docs/metrics.md")) as file:
        page = set(re.findall(r"\bescra_\w+", file.read()))
    with open(os.path.join(REPOSITORY, "Sources/escra/NodeMetrics.swift")) as file:
        text = file.read()
    _, containers, applications = re.split(r"static let (?:container|application):", text)
    families = {"escra_build_info", "escra_containers"}
    for kind, text in (("container", containers), ("application", applications)):
        for name, is_counter in re.findall(r'Figure\("(\w+)", (?:\.gauge|(\.counter))', text):
            families.add(f"escra_{kind}_{name}" + ("_total" if is_counter else ""))
    assert len(families) == 41 and families <= page
    for name in ("dashboard.json", "alerts.yml"):
        with open(os.path.join(MONITORING, name)) as file:
            used = set(re.findall(r"\bescra_\w+", file.read()))
        assert used <= families, name
