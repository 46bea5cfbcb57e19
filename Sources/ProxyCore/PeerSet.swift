/// Peers that the configuration names: networks, and whoever comes by a Unix socket.
public struct PeerSet: Sendable {
    private let networks: [(address: IPAddress, prefixLength: Int)]
    private let includesUnix: Bool

    /// - Parameter networks: addresses with the lengths of their prefixes in 128 bits.
    public init(networks: [(address: IPAddress, prefixLength: Int)] = [], includesUnix: Bool = false) {
        self.networks = networks
        self.includesUnix = includesUnix
    }

    /// Whether it names nobody.
    public var isEmpty: Bool { networks.isEmpty && !includesUnix }

    /// Whether a peer is among them, by what its socket says: one without an address came by a Unix socket.
    public func contain(peer: IPAddress) -> Bool { peer == .unspecified ? includesUnix : contain(address: peer) }

    /// Whether an address that somebody wrote down is among them; `::` never is a Unix socket here.
    public func contain(address: IPAddress) -> Bool {
        for network in networks where address.isIn(network: network.address, prefixLength: network.prefixLength) {
            return true
        }
        return false
    }
}
