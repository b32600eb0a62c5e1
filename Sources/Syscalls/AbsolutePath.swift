// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// A path as it is seen from here, whatever directory another process is in.
package func absolutePath(_ path: String) -> String {
  if path.utf8.first == UInt8(ascii: "/") { return path }
  guard let buffer = getcwd(nil, 0) else { return path }
  defer { free(buffer) }
  return path == "." ? String(cString: buffer) : String(cString: buffer) + "/" + path
}
