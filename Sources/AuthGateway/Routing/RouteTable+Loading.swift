import GatewayConfig

extension RouteTable {
    /// The most nodes that a request may visit; a file whose routes overlap in more ways does not load.
    static let stepsLimit = 256

    /// Makes the table of a file's routes, and says all that is wrong with them or worth a second look.
    ///
    /// There is no table where one of the problems is an error.
    /// - Parameter seed: a fresh random number, so that no one can prepare names that share a slot.
    static func load(
        _ routes: [GatewayConfiguration.Route], seed: UInt64
    ) -> (table: RouteTable?, problems: [RouteProblem]) {
        var forest = RouteForest()
        var problems = routes.compactMap { forest.add($0, among: routes) }
        problems += tooManyOverlaps(in: forest, routes)
        guard problems.isEmpty else { return (nil, problems) }
        return (RouteTable(forest, seed: seed), doubtfulNeighbours(in: forest, routes))
    }

    private static func tooManyOverlaps(
        in forest: RouteForest, _ routes: [GatewayConfiguration.Route]
    ) -> [RouteProblem] {
        routes.indices.compactMap { index in
            guard let host = forest.hosts[index], forest.hosts.firstIndex(of: host) == index,
                let steps = forest.trees[host]?.stepsMax, steps > stepsLimit
            else { return nil }
            return RouteProblem(
                severity: .error, location: routes[index].location,
                message: "this route and the others of its host overlap so that one path may take \(steps) steps",
                cure: "at most \(stepsLimit) are allowed: write literals in place of some '*'")
        }
    }

    /// Warnings about pairs of routes of one host whose order may surprise.
    private static func doubtfulNeighbours(
        in forest: RouteForest, _ routes: [GatewayConfiguration.Route]
    ) -> [RouteProblem] {
        var problems: [RouteProblem] = []
        for (index, route) in routes.enumerated() {
            guard let pattern = forest.patterns[index], let tree = forest.hosts[index].flatMap({ forest.trees[$0] })
            else { continue }
            let neighbours = tree.overlapping(pattern).sorted().compactMap { other in
                forest.patterns[other].map { (route: routes[other], pattern: $0, isSelf: other == index) }
            }.filter { !$0.isSelf }
            if route.hasRequirements {
                problems += neighbours.filter { other in
                    other.pattern.precedes(pattern) && !other.pattern.isWithin(pattern)
                        && !other.route.demandsTheSame(as: route)
                }.map { shadowed(route, by: $0.route) }
            } else {
                let above = neighbours.filter { other in
                    other.route.hasRequirements && pattern.isWithin(other.pattern) && pattern.precedes(other.pattern)
                }
                // The route that would answer if this one were not there.
                let nearest = above.min { $0.pattern.precedes($1.pattern) }
                problems += [nearest].compactMap(\.self).map { beneath(route, $0.route) }
            }
        }
        return problems
    }

    private static func shadowed(
        _ route: GatewayConfiguration.Route, by other: GatewayConfiguration.Route
    ) -> RouteProblem {
        RouteProblem(
            severity: .warning, location: route.location,
            message: "paths that match both '\(route.path)' and '\(other.path)' go to the latter, which is "
                + "\(other.location.path) on line \(other.location.line) and has other requirements",
            cure: "check that this is meant; from the left, a literal goes before '*', and '*' before '**'")
    }

    private static func beneath(
        _ route: GatewayConfiguration.Route, _ other: GatewayConfiguration.Route
    ) -> RouteProblem {
        RouteProblem(
            severity: .warning, location: route.location,
            message: "'\(route.path)' lets anonymous requests through beneath '\(other.path)', which has requirements "
                + "(\(other.location.path) on line \(other.location.line))",
            cure: "check that this is meant")
    }
}

extension GatewayConfiguration.Route {
    /// Whether the route asks for a subject at all.
    fileprivate var hasRequirements: Bool {
        switch access {
        case .open, .optional: false
        case .rules: true
        }
    }

    /// Whether both routes ask every request for the same.
    fileprivate func demandsTheSame(as other: GatewayConfiguration.Route) -> Bool {
        guard case .rules(let rules) = access, case .rules(let otherRules) = other.access else { return false }
        return rules.elementsEqual(otherRules) { $0.methods == $1.methods && $0.require == $1.require }
            && credentials == other.credentials
    }
}
