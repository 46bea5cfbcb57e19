public import HTTPModel

/// An IP address in 128 bits; IPv4 is kept IPv4-mapped (RFC 4291 section 2.5.5.2), so that `::ffff:10.0.0.1` and
/// `10.0.0.1` are one address everywhere.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// The first and the last eight bytes, big-endian.
    public let high: UInt64
    /// The last eight bytes, big-endian.
    public let low: UInt64

    /// From the two halves.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// From an IPv4 or IPv6 address as text, without brackets and zone; `nil` for anything else.
    public init?(_ text: String) {
        guard let address = NetworkAddress(numericHost: text, port: 0) else { return nil }
        self.init(address)
    }

    /// From a socket address; `nil` for a Unix socket.
    public init?(_ address: NetworkAddress) {
        guard let bytes = address.addressBytes(), bytes.count == 16 else { return nil }
        high = bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Stands for a peer without an address, such as one on a Unix socket: `::`.
    public static let unspecified = IPAddress(high: 0, low: 0)

    /// Whether it is an IPv4 address.
    public var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }

    /// The 16 bytes in network order, without an allocation.
    public var inlineBytes: InlineArray<16, UInt8> {
        InlineArray { index in
            UInt8(truncatingIfNeeded: (index < 8 ? high : low) >> UInt64(56 - 8 * (index % 8)))
        }
    }

    /// The 16 bytes in network order.
    public var bytes: [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: high >> (56 - 8 * UInt64($0))) }
            + (0..<8).map { UInt8(truncatingIfNeeded: low >> (56 - 8 * UInt64($0))) }
    }

    /// Whether the first `prefixLength` of the 128 bits are those of `network`.
    public func isIn(network: IPAddress, prefixLength: Int) -> Bool {
        let highBits = min(prefixLength, 64)
        let lowBits = max(0, min(prefixLength - 64, 64))
        let highMask: UInt64 = highBits == 0 ? 0 : .max << UInt64(64 - highBits)
        let lowMask: UInt64 = lowBits == 0 ? 0 : .max << UInt64(64 - lowBits)
        return (high ^ network.high) & highMask == 0 && (low ^ network.low) & lowMask == 0
    }

    /// Appends the address as text (RFC 5952), without brackets.
    public func append(to buffer: inout ByteBuffer) {
        if isIPv4 {
            buffer.append(dottedBytes: UInt32(truncatingIfNeeded: low))
            return
        }
        let run = longestZeroRun()
        var group = 0
        while group < 8 {
            if group == run.start, run.count > 1 {
                buffer.append("::" as StaticString)
                group += run.count
                continue
            }
            if group > 0, group != run.start + run.count || run.count < 2 { buffer.append(UInt8(ascii: ":")) }
            buffer.append(hex: UInt64(self.group(group)))
            group += 1
        }
    }

    /// For people.
    public var description: String {
        var buffer = ByteBuffer(capacity: 64)
        append(to: &buffer)
        return String(decoding: buffer.bytes)
    }

    private func group(_ index: Int) -> UInt16 {
        let half = index < 4 ? high : low
        return UInt16(truncatingIfNeeded: half >> UInt64(48 - 16 * (index % 4)))
    }

    private func longestZeroRun() -> (start: Int, count: Int) {
        var best = (start: -1, count: 0)
        var start = 0
        var count = 0
        for index in 0..<8 {
            if group(index) == 0 {
                if count == 0 { start = index }
                count += 1
                if count > best.count { best = (start, count) }
            } else {
                count = 0
            }
        }
        return best
    }
}
