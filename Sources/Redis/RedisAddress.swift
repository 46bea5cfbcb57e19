internal import Glibc

/// Where a server listens, resolved.
public struct RedisAddress: Sendable, Equatable, CustomStringConvertible {
    /// A `sockaddr` of the family's own length.
    let socketAddress: [UInt8]
    /// For logs.
    public let description: String

    /// An IPv4 or IPv6 address in text, without brackets or zone; `nil` for anything else.
    public init?(ip text: String, port: UInt16) {
        var four = sockaddr_in()
        var six = sockaddr_in6()
        // inet_pton writes an in_addr or an in6_addr, as its family says, which is what each is given.
        if unsafe inet_pton(AF_INET, text, &four.sin_addr) == 1 {
            four.sin_family = sa_family_t(AF_INET)
            four.sin_port = port.bigEndian
            // A sockaddr_in has no padding whose bytes are not set by its initialiser.
            socketAddress = unsafe withUnsafeBytes(of: &four) { unsafe Array($0) }
            description = "\(text):\(port)"
        } else if unsafe inet_pton(AF_INET6, text, &six.sin6_addr) == 1 {
            six.sin6_family = sa_family_t(AF_INET6)
            six.sin6_port = port.bigEndian
            // The same holds for a sockaddr_in6.
            socketAddress = unsafe withUnsafeBytes(of: &six) { unsafe Array($0) }
            description = "[\(text)]:\(port)"
        } else {
            return nil
        }
    }

    /// A Unix socket's path, 1 to 107 bytes without NUL; `nil` for anything else.
    public init?(unixPath path: String) {
        let capacity = MemoryLayout<sockaddr_un>.size - MemoryLayout<sa_family_t>.size
        guard (1..<capacity).contains(path.utf8.count), !path.utf8.contains(0) else { return nil }
        let family = sa_family_t(AF_UNIX)
        socketAddress = [UInt8(truncatingIfNeeded: family.littleEndian), 0] + Array(path.utf8) + [0]
        description = "unix:\(path)"
    }

    var family: CInt { CInt(socketAddress[0]) | CInt(socketAddress[1]) << 8 }
}
