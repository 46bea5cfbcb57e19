internal import CLinux
internal import Glibc

/// A file descriptor with one owner; closed when the owner lets go of it.
public struct Descriptor: ~Copyable, Sendable {
    /// The number, for system calls while the owner lives.
    public let number: CInt

    /// Takes over an open descriptor.
    public init(adopting number: CInt) { self.number = number }

    /// Gives the descriptor away; the caller closes it.
    public consuming func release() -> CInt {
        let number = number
        discard self
        return number
    }

    deinit { if number >= 0 { _ = Glibc.close(number) } }
}

/// A system call that failed in a way the caller cannot work around.
public struct SystemError: Error, Sendable, CustomStringConvertible {
    /// The call, such as `bind`, with what it was about.
    public let call: String
    /// Its `errno`.
    public let code: CInt

    /// Takes `errno` as it is now.
    public init(_ call: String) { self.init(call, code: errno) }

    /// For calls that return their error.
    public init(_ call: String, code: CInt) {
        self.call = call
        self.code = code
    }

    /// For people.
    public var description: String {
        let text = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        return "\(call): \(text)"
    }
}
