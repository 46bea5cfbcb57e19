internal import IdentityModel

typealias SocketAddress = GatewayConfiguration.SocketAddress

extension SettingType where Value == SocketAddress {
    /// Where we listen: an address of this machine, never a name; port 0 lets the kernel choose. Or a Unix socket.
    static let listenAddress = SettingType(
        name: "address",
        allowed: "an address and a port, such as 0.0.0.0:8443, 127.0.0.1:8080 or [::]:8443, or unix:/path",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            let address = try SocketAddresses.parse(text, ports: 0...65535)
            if case .tcp(let host, _) = address, HostName.addressBytes(host) == nil {
                throw Refusal("\(host.quoted) is no address")
            }
            return address
        },
        show: SocketAddresses.show)

    /// Where an upstream listens.
    static let endpoint = SettingType(
        name: "endpoint", allowed: "host:port or unix:/path, such as 127.0.0.1:5001, app.internal:80 or [::1]:5001",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            if text.hasPrefix("https://") {
                throw Refusal(
                    "TLS to an upstream is not built yet, so \(text.quoted) cannot be reached",
                    cure: "use host:port on a network you trust, or unix:/path")
            }
            if text.hasPrefix("http://") {
                throw Refusal("\(text.quoted) is a URL", cure: "write \(String(text.dropFirst(7)).quoted)")
            }
            return try SocketAddresses.parse(text, ports: 1...65535)
        },
        show: SocketAddresses.show)
}

enum SocketAddresses {
    static func parse(_ text: String, ports: ClosedRange<Int>) throws(Refusal) -> SocketAddress {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard path.hasPrefix("/"), path.utf8.count <= unixPathBytesMax, !path.utf8.contains(0) else {
                throw Refusal(
                    "\(text.quoted) names no socket",
                    cure: "write unix: and an absolute path of at most \(unixPathBytesMax) bytes")
            }
            return .unix(path: path)
        }
        guard let colon = text.lastIndex(of: ":") else { throw Refusal("\(text.quoted) has no port") }
        let digits = text[text.index(after: colon)...]
        guard let port = Digits.value(digits), ports.contains(port) else {
            throw Refusal(
                "\(String(digits).quoted) is no port",
                cure: "write a port from \(ports.lowerBound) to \(ports.upperBound)")
        }
        return .tcp(host: try host(text[..<colon], of: text), port: UInt16(port))
    }

    private static func host(_ text: Substring, of whole: String) throws(Refusal) -> String {
        if text.hasPrefix("["), text.hasSuffix("]") {
            let address = String(text.dropFirst().dropLast())
            guard address.contains(":"), HostName.addressBytes(address) != nil else {
                throw Refusal("\(address.quoted) is no IPv6 address")
            }
            return address.lowercased()
        }
        guard !text.contains(":") else {
            throw Refusal(
                "\(whole.quoted) leaves open where the port begins", cure: "put an IPv6 address into brackets")
        }
        let host = String(text)
        guard HostName.addressBytes(host) != nil || HostName.isName(host) else {
            throw Refusal("\(host.quoted) is neither an address nor a host name")
        }
        return host.lowercased()
    }

    static func show(_ address: SocketAddress) -> String {
        switch address {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }

    /// `sun_path` of Linux holds 108 bytes with its NUL.
    private static let unixPathBytesMax = 107
}

extension SettingType where Value == GatewayConfiguration.AddressBlock {
    /// A network in CIDR notation, or one address (RFC 4632, RFC 4291 section 2.3).
    static let addressBlock = SettingType(
        name: "network", allowed: "a network such as 10.0.0.0/8 or fd00::/8, or one address",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count <= 2, let bytes = HostName.addressBytes(String(parts[0])) else {
                throw Refusal("\(text.quoted) is no network")
            }
            let length = parts.count == 2 ? Digits.value(parts[1]) : bytes.count * 8
            guard let length, length <= bytes.count * 8 else {
                throw Refusal("\(text.quoted) has no prefix length from 0 to \(bytes.count * 8)")
            }
            let network = AddressBlocks.network(bytes, length: length)
            let block = AddressBlocks.mapped(network, length: length)
            guard network == bytes else {
                throw Refusal(
                    "\(text.quoted) has bits beyond its prefix", cure: "write \(AddressBlocks.show(block).quoted)")
            }
            return block
        },
        show: AddressBlocks.show)
}

extension SettingType where Value == GatewayConfiguration.Peers {
    /// A network, or the word for Unix sockets.
    static let peers = SettingType(
        name: "peers", allowed: "a network such as 10.0.0.0/8 or fd00::/8, one address, or unix",
        schema: .members(["type": .string("string")]),
        read: { text throws(Refusal) in
            if text == "unix" { return .unix }
            return .network(try SettingType<GatewayConfiguration.AddressBlock>.addressBlock.read(text))
        },
        show: { peers in
            switch peers {
            case .network(let block): AddressBlocks.show(block)
            case .unix: "unix"
            }
        })
}

extension SettingType where Value == UInt32 {
    /// The mode of a file: octal digits, as `chmod` takes them.
    static let fileMode = SettingType(
        name: "mode", allowed: "a file's mode such as \"0660\": three or four octal digits, at most 0777",
        schema: .members([
            "type": .array([.string("string"), .string("integer")]), "pattern": .string("^0?[0-7]{3}$"),
        ]),
        read: { text throws(Refusal) in
            let digits = text.utf8.count == 4 && text.hasPrefix("0") ? text.dropFirst() : text[...]
            let isOctal = digits.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }
            guard digits.utf8.count == 3, isOctal, let mode = UInt32(digits, radix: 8) else {
                throw Refusal("\(text.quoted) is no mode of a file")
            }
            return mode
        },
        show: { "0" + String(repeating: "0", count: max(0, 3 - String($0, radix: 8).count)) + String($0, radix: 8) })
}

enum AddressBlocks {
    /// The address with every bit beyond the prefix zero.
    static func network(_ bytes: [UInt8], length: Int) -> [UInt8] {
        bytes.enumerated().map { index, byte in
            let kept = min(8, max(0, length - index * 8))
            return byte & ~UInt8(truncatingIfNeeded: 0xFF >> kept)
        }
    }

    /// Both families as IPv6 (RFC 4291 section 2.5.5.2).
    static func mapped(_ bytes: [UInt8], length: Int) -> GatewayConfiguration.AddressBlock {
        guard bytes.count == 4 else { return .init(address: bytes, prefixLength: length) }
        return .init(address: mappedPrefix + bytes, prefixLength: 96 + length)
    }

    static func show(_ block: GatewayConfiguration.AddressBlock) -> String {
        if block.prefixLength >= 96, Array(block.address.prefix(12)) == mappedPrefix {
            return block.address.suffix(4).map { "\($0)" }.joined(separator: ".") + "/\(block.prefixLength - 96)"
        }
        let groups = stride(from: 0, to: 16, by: 2).map {
            String(UInt16(block.address[$0]) << 8 | UInt16(block.address[$0 + 1]), radix: 16)
        }
        return groups.joined(separator: ":") + "/\(block.prefixLength)"
    }

    private static let mappedPrefix: [UInt8] = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]
}

/// A Redis server as its URL says it.
struct RedisURL: Sendable {
    var host: String
    var port: UInt16
    var database: Int
    var username: String?
    var password: Secret<String>?
}

extension SettingType where Value == RedisURL {
    /// `redis://[user:password@]host[:port][/database]`. No message quotes it, for it may hold a password.
    static let redisURL = SettingType(
        name: "URL", allowed: "redis://[user:password@]host[:port][/database]",
        schema: .members(["type": .string("string"), "pattern": .string("^(redis://|\\$)")]),
        read: { text throws(Refusal) in
            guard !text.hasPrefix("rediss://") else {
                throw Refusal("TLS to Redis is not built yet", cure: "use redis:// on a network you trust")
            }
            guard text.hasPrefix("redis://") else { throw Refusal("the URL does not begin with redis://") }
            var rest = text.dropFirst("redis://".count)
            var url = RedisURL(host: "", port: 6379, database: 0)
            if let at = rest.lastIndex(of: "@") {
                let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, let user = PercentDecoding.decode(parts[0]),
                    let password = PercentDecoding.decode(parts[1]), !password.isEmpty
                else { throw Refusal("what stands before '@' is no user:password") }
                url.username = user.isEmpty ? nil : user
                url.password = Secret(password)
                rest = rest[rest.index(after: at)...]
            }
            if let slash = rest.firstIndex(of: "/") {
                let database = rest[rest.index(after: slash)...]
                guard let number = database.isEmpty ? 0 : Digits.value(database), number <= 65535 else {
                    throw Refusal("what stands after '/' is no number of a database")
                }
                url.database = number
                rest = rest[..<slash]
            }
            let hasPort = rest.hasSuffix("]") ? false : rest.contains(":")
            let address = hasPort ? String(rest) : "\(rest):6379"
            do {
                guard case .tcp(let host, let port) = try SocketAddresses.parse(address, ports: 1...65535) else {
                    throw Refusal("the URL names no host")
                }
                url.host = host
                url.port = port
            } catch {
                throw Refusal("the URL names no host and port")
            }
            return url
        },
        show: { url in
            let credentials = url.password == nil ? "" : "\(url.username ?? ""):***@"
            return "redis://\(credentials)\(SocketAddresses.show(.tcp(host: url.host, port: url.port)))/\(url.database)"
        })
}

enum PercentDecoding {
    /// Text with every `%XX` decoded; `nil` for a bad escape, a control character, or bytes that are not UTF-8.
    static func decode(_ text: some StringProtocol) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, rest.prefix(2).allSatisfy(Bytes.isHexDigit),
                let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        guard !bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
