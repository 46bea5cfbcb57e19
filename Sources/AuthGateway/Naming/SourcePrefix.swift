/// What stands before the names of one source's subjects, so that two sources of a route cannot name one user.
struct SourcePrefix: Sendable {
    private let text: [UInt8]
    /// Prefixes of other sources that are longer: a name that begins so belongs to them.
    private let foreign: [[UInt8]]

    /// The only source of its route.
    static let none = SourcePrefix(nil, others: [])

    /// - Parameter others: the prefixes of all other sources, `nil` for one without; no two sources may have the same.
    init(_ prefix: String?, others: [String?]) {
        let own = Array((prefix ?? "").utf8)
        text = own
        foreign = others.compactMap { $0.map { Array($0.utf8) } }.filter { $0.count > own.count }
    }

    /// The name with its prefix; `nil` where another source could make the same name.
    func applied(to name: String) -> [UInt8]? {
        let full = text + name.utf8
        return foreign.contains { full.starts(with: $0) } ? nil : full
    }
}
