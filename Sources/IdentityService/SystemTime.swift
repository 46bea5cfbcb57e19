internal import Glibc

/// The system's time in whole seconds since the epoch.
public func systemTime() -> Int64 { Int64(time(nil)) }
