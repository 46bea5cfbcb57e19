internal import CLinux
internal import Glibc

/// A socket address, ready for `bind` and `connect`.
@safe public struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
    /// The bytes of a `sockaddr_in`, `sockaddr_in6` or `sockaddr_un`.
    private let bytes: [UInt8]

    /// An IPv4 or IPv6 address as text, without brackets; `nil` for anything else.
    public init?(numericHost host: String, port: UInt16) {
        // The C functions stop at a NUL.
        guard !host.utf8.contains(0) else { return nil }
        var v4 = in_addr()
        var v6 = in6_addr()
        if unsafe inet_pton(AF_INET, host, &v4) == 1 {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr = v4
            bytes = NetworkAddress.rawBytes(of: address)
        } else if unsafe inet_pton(AF_INET6, host, &v6) == 1 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            address.sin6_addr = v6
            bytes = NetworkAddress.rawBytes(of: address)
        } else {
            return nil
        }
    }

    /// A Unix socket; `nil` when the path is empty or longer than the kernel allows (107 bytes).
    public init?(unixPath path: String) {
        let utf8 = Array(path.utf8)
        guard (1...107).contains(utf8.count), !utf8.contains(0) else { return nil }
        bytes = NetworkAddress.rawBytes(of: sa_family_t(AF_UNIX)) + utf8 + [0]
    }

    /// Looks a name up with the system's resolver; blocks, so never on a worker.
    public static func resolve(host: String, port: UInt16) -> [NetworkAddress] {
        if let numeric = NetworkAddress(numericHost: host, port: port) { return [numeric] }
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(host, String(port), &hints, &list) == 0 else { return [] }
        defer { unsafe freeaddrinfo(list) }
        var found: [NetworkAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            if let address = unsafe entry.pointee.ai_addr {
                // getaddrinfo gives ai_addrlen bytes there.
                let region = unsafe UnsafeRawBufferPointer(start: address, count: Int(entry.pointee.ai_addrlen))
                let address = unsafe NetworkAddress(bytes: Array(region))
                if !found.contains(address) { found.append(address) }
            }
            unsafe next = entry.pointee.ai_next
        }
        return found
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// The address that a listening or connected socket is bound to.
    static func local(of descriptor: CInt) -> NetworkAddress? {
        var region = [UInt8](repeating: 0, count: MemoryLayout<sockaddr_storage>.size)
        var length = socklen_t(region.count)
        let code = unsafe region.withUnsafeMutableBytes { raw in
            // The kernel writes no more than `length` bytes.
            unsafe getsockname(descriptor, raw.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
        return code == 0 ? NetworkAddress(bytes: Array(region.prefix(Int(length)))) : nil
    }

    var family: CInt { CInt(UInt16(bytes[0]) | UInt16(bytes[1]) << 8) }

    /// The path of a Unix socket; `nil` for other addresses.
    public var unixPath: String? {
        family == AF_UNIX ? String(decoding: bytes.dropFirst(2).dropLast(), as: UTF8.self) : nil
    }

    /// The port; zero for a Unix socket.
    public var port: UInt16 {
        family == AF_UNIX || bytes.count < 4 ? 0 : UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    }

    func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>?, socklen_t) -> Result) -> Result {
        unsafe bytes.withUnsafeBytes { raw in
            // The bytes are those of a sockaddr of this family.
            unsafe body(raw.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
    }

    /// `127.0.0.1:80`, `[::1]:80` or `unix:/path`.
    public var description: String {
        if let unixPath { return "unix:" + unixPath }
        guard let address = IPAddress(self) else { return "?" }
        return address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }

    /// The IPv6 or IPv4-mapped address; `nil` for a Unix socket.
    func addressBytes() -> [UInt8]? {
        switch family {
        case AF_INET where bytes.count >= 8:
            [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + bytes[4..<8]
        case AF_INET6 where bytes.count >= 24: Array(bytes[8..<24])
        default: nil
        }
    }

    private static func rawBytes<Value>(of value: Value) -> [UInt8] {
        var value = value
        return unsafe withUnsafeBytes(of: &value) { unsafe Array($0) }
    }
}
