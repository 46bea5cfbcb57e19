import GatewayConfig
import HTTPModel
import ProxyCore

/// Peers whose `X-Forwarded-*` fields count.
struct TrustedProxies: Sendable {
    private let peers: PeerSet

    init(_ peers: [GatewayConfiguration.Peers]) { self.peers = PeerSet(peers) }

    var isEmpty: Bool { peers.isEmpty }

    /// Whether the peer of a connection is one of them.
    func contain(peer: IPAddress) -> Bool { peers.contain(peer: peer) }

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
            guard peers.contain(address: address) else { return client }
        }
        return client
    }

    /// An entry without blanks, brackets and port.
    private static func bare(_ entry: Substring) -> String {
        var text = entry.drop { $0 == " " || $0 == "\t" }
        while text.last == " " || text.last == "\t" { text = text.dropLast() }
        if text.first == "[", let end = text.firstIndex(of: "]") {
            let port = text[text.index(after: end)...]
            guard port.isEmpty || isPort(port) else { return "" }
            return String(text[text.index(after: text.startIndex)..<end])
        }
        if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            guard isPort(text[colon...]) else { return "" }
            return String(text[..<colon])
        }
        return String(text)
    }

    /// `:` and one to five digits.
    private static func isPort(_ text: Substring) -> Bool {
        let digits = text.dropFirst()
        return text.first == ":" && (1...5).contains(digits.utf8.count)
            && digits.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    }

    private static let entriesMax = 32
}

extension PeerSet {
    init(_ peers: [GatewayConfiguration.Peers]) {
        let networks = peers.compactMap { peers -> (address: IPAddress, prefixLength: Int)? in
            guard case .network(let block) = peers else { return nil }
            let high = block.address[0..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let low = block.address[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return (IPAddress(high: high, low: low), block.prefixLength)
        }
        self.init(networks: networks, includesUnix: peers.contains(.unix))
    }
}
