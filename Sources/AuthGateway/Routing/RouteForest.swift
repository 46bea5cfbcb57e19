import GatewayConfig

/// The routes as trees, one for each host, while the file is being loaded; `RouteTable` is what requests see.
struct RouteForest {
    /// Which hosts a tree is for.
    enum Host: Hashable {
        case every
        case exact([UInt8])
        /// One or more labels before this suffix.
        case below([UInt8])
    }

    /// Indices of routes and of nodes in the same tree.
    struct Node {
        var literals: [[UInt8]: Int] = [:]
        var any: Int?
        var exact: Int?
        var exactSlash: Int?
        var rest: Int?
    }

    struct Tree {
        /// The root first; each child behind its parent.
        var nodes = [Node()]
    }

    private(set) var trees: [Host: Tree] = [:]
    /// By index of the route; `nil` for a route whose path or host is no pattern.
    private(set) var patterns: [PathPattern?] = []
    private(set) var hosts: [Host?] = []
    /// Routes that tie, both of each pair: which of the two was meant to answer is unknown.
    private(set) var tied: Set<Int> = []

    /// Adds the next route. Returns what is wrong with it; a route with an error is left out.
    mutating func add(_ route: GatewayConfiguration.Route, among routes: [GatewayConfiguration.Route]) -> RouteProblem?
    {
        let index = patterns.count
        patterns.append(nil)
        hosts.append(nil)
        func problem(_ message: String, cure: String) -> RouteProblem {
            RouteProblem(severity: .error, location: route.location, message: message, cure: cure)
        }
        guard let host = Host(route.host) else {
            return problem(
                "the host '\(route.host ?? "")' is no host name",
                cure: "write it in lower case without port and final dot; '*.' only in front")
        }
        let pattern: PathPattern
        do { pattern = try PathPattern(route.path, allowEncoded: route.allowEncoded) } catch {
            return problem(error.message, cure: error.cure)
        }
        patterns[index] = pattern
        hosts[index] = host
        guard let other = trees[host, default: Tree()].insert(pattern, index) else { return nil }
        patterns[index] = nil
        tied.formUnion([index, other])
        let place = routes[other].location
        return problem(
            "ties with \(place.path) on line \(place.line): same host, same path '\(route.path)'",
            cure: "make them rules of one route, or give one another path")
    }
}

extension RouteForest.Host {
    /// `nil` for what is no host pattern.
    init?(_ text: String?) {
        guard let text else {
            self = .every
            return
        }
        var name = Array(text.utf8)
        let isWildcard = text.hasPrefix("*.")
        if isWildcard { name.removeFirst(2) }
        let isName = !name.isEmpty && name.last != UInt8(ascii: ".") && name.first != UInt8(ascii: ".")
        guard isName, !name.contains(where: RouteForest.Host.isForeign) else { return nil }
        self = isWildcard ? .below(name) : .exact(name)
    }

    private static func isForeign(_ byte: UInt8) -> Bool {
        !(0x21...0x7E).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
            || "*/@?#\\%".utf8.contains(byte)
    }
}

extension RouteForest.Tree {
    /// The most nodes that a search for any one path can visit: behind each node it may go down one literal, and then
    /// down `*` as well.
    var stepsMax: Int {
        var steps = [Int](repeating: 1, count: nodes.count)
        for index in nodes.indices.reversed() {
            let literal = nodes[index].literals.values.map { steps[$0] }.max() ?? 0
            let any = nodes[index].any.map { steps[$0] } ?? 0
            // A sum that no longer fits is too many all the same.
            steps[index] = min(1 + literal + any, Int(Int32.max))
        }
        return steps[0]
    }

    /// Returns the index of a route that has the same pattern already, and changes nothing then.
    mutating func insert(_ pattern: PathPattern, _ route: Int) -> Int? {
        var node = 0
        for segment in pattern.segments { node = child(of: node, segment) }
        switch pattern.end {
        case .exact(hasSlash: false): return nodes[node].exact.occupy(with: route)
        case .exact(hasSlash: true): return nodes[node].exactSlash.occupy(with: route)
        case .rest: return nodes[node].rest.occupy(with: route)
        }
    }

    private mutating func child(of node: Int, _ segment: PathPattern.Segment) -> Int {
        switch segment {
        case .any:
            if let child = nodes[node].any { return child }
            nodes[node].any = nodes.count
        case .literal(let name):
            if let child = nodes[node].literals[name] { return child }
            nodes[node].literals[name] = nodes.count
        }
        nodes.append(RouteForest.Node())
        return nodes.count - 1
    }

    /// The routes that match some path which `pattern` matches too, in no particular order.
    func overlapping(_ pattern: PathPattern) -> [Int] {
        var found: [Int] = []
        var open = [(node: 0, depth: 0)]
        while let (index, depth) = open.popLast() {
            let node = nodes[index]
            found += [node.rest].compactMap(\.self)
            if depth < pattern.segments.count {
                switch pattern.segments[depth] {
                case .any: open += node.literals.values.map { ($0, depth + 1) }
                case .literal(let name): open += [node.literals[name]].compactMap(\.self).map { ($0, depth + 1) }
                }
                open += [node.any].compactMap(\.self).map { ($0, depth + 1) }
            } else {
                found += [node.exact, node.exactSlash].compactMap(\.self)
                if pattern.end == .rest {
                    open += node.literals.values.map { ($0, depth) }
                    open += [node.any].compactMap(\.self).map { ($0, depth) }
                }
            }
        }
        return found
    }
}

extension Int? {
    /// Takes the place if it is free, else returns who has it.
    fileprivate mutating func occupy(with value: Int) -> Int? {
        if let self { return self }
        self = value
        return nil
    }
}
