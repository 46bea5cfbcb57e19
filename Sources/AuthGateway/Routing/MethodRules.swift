/// Which rule of a route a method falls under. HOT: allocates nothing.
struct MethodRules: Sendable {
    enum Match: Equatable, Sendable {
        /// The route has no rules: it is open, or takes whom it gets.
        case noRules
        /// The index of the first rule whose methods match.
        case rule(Int)
        /// Answer 405 with `allow`.
        case notAllowed
    }

    /// The value of `Allow` (RFC 9110 section 10.2.1): every method that some rule names, in the order of the file.
    let allow: [UInt8]
    private let hasRules: Bool
    /// In the order of the rules; an empty method stands for all of them.
    private let entries: [(method: [UInt8], rule: Int)]

    /// A route without rules.
    static let none = MethodRules(hasRules: false, methods: [])

    /// - Parameter methods: for each rule its methods, `nil` for every one; GET covers HEAD.
    init(methods: [[String]?]) { self.init(hasRules: true, methods: methods) }

    private init(hasRules: Bool, methods: [[String]?]) {
        self.hasRules = hasRules
        let covered = methods.map { names in
            names.map { $0.flatMap { $0 == "GET" ? ["GET", "HEAD"] : [$0] } } ?? [""]
        }
        entries = covered.enumerated().flatMap { rule, names in names.map { (Array($0.utf8), rule) } }
        var allowed: [String] = []
        for name in covered.joined() where name != "" && !allowed.contains(name) { allowed.append(name) }
        allow = Array(allowed.joined(separator: ", ").utf8)
    }

    /// The rule for a method, which is compared with its case (RFC 9110 section 9.1).
    func match(_ method: Span<UInt8>) -> Match {
        guard hasRules else { return .noRules }
        for index in entries.indices where MethodRules.isEqual(entries[index].method, method) {
            return .rule(entries[index].rule)
        }
        return .notAllowed
    }

    private static func isEqual(_ name: [UInt8], _ method: Span<UInt8>) -> Bool {
        guard !name.isEmpty else { return true }
        guard name.count == method.count else { return false }
        for index in name.indices where name[index] != method[index] { return false }
        return true
    }
}
