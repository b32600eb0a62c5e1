public import Syscalls

/// p
public enum BundleEdit {
  /// p
  public static func putBack(directory: borrowing FileDescriptor) throws(SystemError) {}
}
