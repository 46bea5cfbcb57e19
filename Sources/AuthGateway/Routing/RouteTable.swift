/// Finds the route of a request. HOT: allocates nothing, and its cost does not depend on the number of routes.
///
/// A tree of segments for each host, laid flat: one open-addressing table holds all edges, keyed by (node, segment).
/// The most specific host that has any route decides alone. Below it a literal goes before `*`, `*` before `**`, and
/// the search backs up. Each node of the tree is visited at most once; `stepsMax` bounds the visits of one request
/// and is computed when the table is made.
struct RouteTable: Sendable {
    /// The most nodes that any request can visit.
    let stepsMax: Int
    private let nodes: [Node]
    private let edges: [Edge]
    /// The literals of all edges, one after the other.
    private let names: [UInt8]
    private let seed: UInt64
    /// The root for hosts that no other root is for; -1 for none.
    private let anyHostRoot: Int32
    /// The most labels behind `*.` in any host.
    private let wildcardLabelsMax: Int

    /// The index of the route that answers.
    /// - Parameters:
    ///   - host: lower case, without port and trailing dot; empty when the request has none.
    ///   - path: normalised, without query.
    func match(host: Span<UInt8>, path: Span<UInt8>) -> Int? {
        var steps = 0
        return match(host: host, path: path, steps: &steps)
    }

    /// The same; adds the number of nodes visited to `steps`.
    func match(host: Span<UInt8>, path: Span<UInt8>, steps: inout Int) -> Int? {
        guard path.count > 0, path[0] == slash else { return nil }
        let root = root(for: host)
        guard root >= 0 else { return nil }
        let route = find(from: root, path, at: 1, steps: &steps)
        return route < 0 ? nil : Int(route)
    }

    /// The root of the exact host, else of the longest wildcard, else the one for every host.
    ///
    /// Goes from right to left, so that the hash of each suffix is on the way to that of the whole name.
    private func root(for host: Span<UInt8>) -> Int32 {
        var hash = seed
        var labels = 0
        var root = anyHostRoot
        var index = host.count
        while index > 0 {
            index -= 1
            let byte = host[index]
            if byte == dot {
                labels += 1
                if labels <= wildcardLabelsMax, index > 0 {
                    let found = child(
                        of: RouteTable.wildcardHosts, named: host, from: index + 1, to: host.count, hash: hash,
                        isEscaped: false)
                    if found >= 0 { root = found }
                }
            }
            hash = RouteTable.extended(hash, byte)
        }
        let exact = child(
            of: RouteTable.exactHosts, named: host, from: 0, to: host.count, hash: hash, isEscaped: false)
        return exact >= 0 ? exact : root
    }

    /// The best route below `node` for what is left of the path; -1 for none.
    /// - Parameter start: where a segment begins; the path's length after a final slash, one more after a last segment.
    private func find(from node: Int32, _ path: Span<UInt8>, at start: Int, steps: inout Int) -> Int32 {
        steps += 1
        let here = nodes[Int(node)]
        guard start < path.count else {
            let ending = start == path.count ? (here.exactSlash, here.exact) : (here.exact, here.exactSlash)
            if ending.0 >= 0 { return ending.0 }
            return ending.1 >= 0 ? ending.1 : here.rest
        }
        var hash = seed
        var end = start
        var isEscaped = false
        while end < path.count {
            let byte = path[end]
            if byte == slash { break }
            if byte == percent, let decoded = decodedEscape(path, at: end, before: path.count) {
                hash = RouteTable.extended(hash, decoded)
                isEscaped = true
                end += 3
            } else {
                hash = RouteTable.extended(hash, byte)
                end += 1
            }
        }
        let literal = child(of: node, named: path, from: start, to: end, hash: hash, isEscaped: isEscaped)
        if literal >= 0 {
            let route = find(from: literal, path, at: end + 1, steps: &steps)
            if route >= 0 { return route }
        }
        if here.any >= 0, end > start {
            let route = find(from: here.any, path, at: end + 1, steps: &steps)
            if route >= 0 { return route }
        }
        return here.rest
    }

    /// The node behind an edge; -1 for none.
    private func child(
        of node: Int32, named name: Span<UInt8>, from start: Int, to end: Int, hash: UInt64, isEscaped: Bool
    ) -> Int32 {
        let key = RouteTable.key(node, hash)
        let mask = edges.count - 1
        var slot = Int(truncatingIfNeeded: key) & mask
        // At most half of the slots are taken, so that a vacant one ends the search.
        while edges[slot].child >= 0 {
            let edge = edges[slot]
            if edge.key == key, edge.node == node, isName(of: edge, name, from: start, to: end, isEscaped: isEscaped) {
                return edge.child
            }
            slot = (slot + 1) & mask
        }
        return -1
    }

    private func isName(
        of edge: Edge, _ bytes: Span<UInt8>, from start: Int, to end: Int, isEscaped: Bool
    ) -> Bool {
        let names = names.span
        if !isEscaped {
            guard end - start == edge.nameCount else { return false }
            for offset in 0..<edge.nameCount where names[edge.nameStart + offset] != bytes[start + offset] {
                return false
            }
            return true
        }
        var index = start
        for offset in edge.nameStart..<(edge.nameStart + edge.nameCount) {
            guard index < end else { return false }
            if let decoded = decodedEscape(bytes, at: index, before: end) {
                guard names[offset] == decoded else { return false }
                index += 3
            } else {
                guard names[offset] == bytes[index] else { return false }
                index += 1
            }
        }
        return index == end
    }

    @inline(__always)
    private static func extended(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    /// Mixes node and name; the low bits choose the slot.
    @inline(__always)
    private static func key(_ node: Int32, _ hash: UInt64) -> UInt64 {
        let mixed = (hash ^ UInt64(truncatingIfNeeded: node) &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
        return mixed ^ (mixed >> 32)
    }

    /// Each member is an index, or -1: of the node behind `*`, of the routes that end here.
    fileprivate struct Node {
        var any: Int32
        var exact: Int32
        var exactSlash: Int32
        var rest: Int32
    }

    fileprivate struct Edge {
        var key: UInt64
        var node: Int32
        /// -1 marks a vacant slot.
        var child: Int32
        var nameStart: Int
        var nameCount: Int
    }

    /// Two nodes stand for no segment: the edges from them are host names.
    private static let exactHosts: Int32 = 0
    private static let wildcardHosts: Int32 = 1
}

extension RouteTable {
    /// Lays the trees out.
    init(_ forest: RouteForest, seed: UInt64) {
        var nodes = [Node](repeating: Node(any: -1, exact: -1, exactSlash: -1, rest: -1), count: 2)
        var names: [UInt8] = []
        var edges: [Edge] = []

        func addEdge(from node: Int32, _ name: [UInt8], hash: UInt64, to child: Int32) {
            edges.append(
                Edge(
                    key: RouteTable.key(node, hash), node: node, child: child, nameStart: names.count,
                    nameCount: name.count))
            names += name
        }
        func add(_ tree: RouteForest.Tree) -> Int32 {
            let base = nodes.count
            for node in tree.nodes {
                nodes.append(
                    Node(
                        any: node.any.map { Int32(base + $0) } ?? -1, exact: Int32(node.exact ?? -1),
                        exactSlash: Int32(node.exactSlash ?? -1), rest: Int32(node.rest ?? -1)))
            }
            for (index, node) in tree.nodes.enumerated() {
                for (name, child) in node.literals {
                    addEdge(
                        from: Int32(base + index), name, hash: name.reduce(seed, RouteTable.extended),
                        to: Int32(base + child))
                }
            }
            return Int32(base)
        }

        var anyHostRoot: Int32 = -1
        var wildcardLabelsMax = 0
        for (host, tree) in forest.trees {
            let root = add(tree)
            switch host {
            case .every:
                anyHostRoot = root
            case .exact(let name):
                addEdge(
                    from: RouteTable.exactHosts, name, hash: name.reversed().reduce(seed, RouteTable.extended), to: root
                )
            case .below(let suffix):
                addEdge(
                    from: RouteTable.wildcardHosts, suffix,
                    hash: suffix.reversed().reduce(seed, RouteTable.extended), to: root)
                wildcardLabelsMax = max(wildcardLabelsMax, suffix.count { $0 == dot } + 1)
            }
        }

        self.nodes = nodes
        self.names = names
        self.edges = RouteTable.slots(for: edges)
        self.seed = seed
        self.anyHostRoot = anyHostRoot
        self.wildcardLabelsMax = wildcardLabelsMax
        stepsMax = forest.trees.values.map(\.stepsMax).max() ?? 0
    }

    private static func slots(for edges: [Edge]) -> [Edge] {
        var capacity = 4
        while capacity < 2 * edges.count + 2 { capacity *= 2 }
        let vacant = Edge(key: 0, node: -1, child: -1, nameStart: 0, nameCount: 0)
        var slots = [Edge](repeating: vacant, count: capacity)
        for edge in edges {
            var slot = Int(truncatingIfNeeded: edge.key) & (capacity - 1)
            while slots[slot].child >= 0 { slot = (slot + 1) & (capacity - 1) }
            slots[slot] = edge
        }
        return slots
    }
}

private let slash = UInt8(ascii: "/")
private let dot = UInt8(ascii: ".")
private let percent = UInt8(ascii: "%")
