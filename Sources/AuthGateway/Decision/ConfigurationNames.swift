import GatewayConfig

/// What the names in routes stand for.
struct ConfigurationNames {
    private let upstreams: [String: Int]
    private let limits: [String: (index: Int, key: GatewayConfiguration.Limit.Key)]

    /// Indices are those of the configuration's lists; of equal names the first counts.
    init(upstreams: [String], limits: [(name: String, key: GatewayConfiguration.Limit.Key)]) {
        self.upstreams = Dictionary(
            upstreams.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        self.limits = Dictionary(
            limits.enumerated().map { ($1.name, ($0, $1.key)) }, uniquingKeysWith: { first, _ in first })
    }

    init(_ configuration: GatewayConfiguration) {
        self.init(
            upstreams: configuration.upstreams.map(\.name), limits: configuration.limits.map { ($0.name, $0.key) })
    }

    func upstream(_ name: String) throws(UnresolvedName) -> Int {
        guard let index = upstreams[name] else { throw UnresolvedName(kind: .upstream, name: name) }
        return index
    }

    func limit(_ name: String) throws(UnresolvedName) -> (index: Int, key: GatewayConfiguration.Limit.Key) {
        guard let limit = limits[name] else { throw UnresolvedName(kind: .limit, name: name) }
        return limit
    }
}

/// A route names what the configuration does not define.
struct UnresolvedName: Error, Equatable {
    enum Kind: String { case upstream, limit }
    let kind: Kind
    let name: String
}
