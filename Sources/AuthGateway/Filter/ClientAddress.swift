import GatewayConfig
import HTTPModel
import ProxyCore

/// Blocks of addresses whose `X-Forwarded-*` fields count.
struct TrustedProxies: Sendable {
    private let blocks: [(network: IPAddress, prefixLength: Int)]

    init(_ blocks: [GatewayConfiguration.AddressBlock]) {
        self.blocks = blocks.map { block in
            let high = block.address[0..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let low = block.address[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return (IPAddress(high: high, low: low), block.prefixLength)
        }
    }

    var isEmpty: Bool { blocks.isEmpty }

    func contain(_ address: IPAddress) -> Bool {
        for block in blocks where address.isIn(network: block.network, prefixLength: block.prefixLength) {
            return true
        }
        return false
    }

    /// The client's address as a chain of trusted peers tells it: from the right, the first entry that is no trusted
    /// peer itself. An entry that is no address ends the walk at the peer before it (R27).
    ///
    /// - Parameters:
    ///   - chain: the values of all `X-Forwarded-For` lines, in order.
    ///   - peer: the socket's address, known to be trusted.
    func client(in chain: [String], peer: IPAddress) -> IPAddress {
        var client = peer
        let entries = chain.joined(separator: ",").split(separator: ",", omittingEmptySubsequences: false)
        for entry in entries.reversed().prefix(TrustedProxies.entriesMax) {
            guard let address = IPAddress(TrustedProxies.bare(entry)) else { return client }
            client = address
            guard contain(address) else { return client }
        }
        return client
    }

    /// An entry without blanks, brackets and port.
    private static func bare(_ entry: Substring) -> String {
        var text = entry.drop { $0 == " " || $0 == "\t" }
        while text.last == " " || text.last == "\t" { text = text.dropLast() }
        if text.first == "[", let end = text.firstIndex(of: "]"), isPort(text[text.index(after: end)...]) {
            return String(text[text.index(after: text.startIndex)..<end])
        }
        if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":"), isPort(text[colon...]) {
            return String(text[..<colon])
        }
        return String(text)
    }

    /// Nothing, or a colon and digits.
    private static func isPort(_ text: Substring) -> Bool {
        text.isEmpty || (text.first == ":" && UInt16(text.dropFirst()) != nil)
    }

    private static let entriesMax = 32
}
