import GatewayConfig

extension RouteTable {
    /// The most nodes that a request may visit; a file whose routes overlap in more ways does not load.
    static let stepsLimit = 256

    /// What became of a file's routes.
    struct Loading {
        /// Of the routes that have a place in it, whatever is wrong with others: to look at, never to serve.
        let partial: RouteTable
        /// Errors, then warnings.
        let problems: [RouteProblem]
        /// Routes that tie with another.
        let tied: Set<Int>
        /// Routes for whose hosts the partial table must not be asked: they have no place in it, or too many ways lead
        /// to them.
        let unforeseeable: Set<Int>

        /// The table that requests may be matched with: there is none where one of the problems is an error.
        var table: RouteTable? { problems.contains { $0.severity == .error } ? nil : partial }
    }

    /// Makes the table of a file's routes, and says all that is wrong with them or worth a second look.
    /// - Parameters:
    ///   - broken: routes with errors of their own, of which nothing but these is said.
    ///   - seed: a fresh random number, so that no one can prepare names that share a slot.
    static func load(
        _ routes: [GatewayConfiguration.Route], besides broken: Set<Int> = [], seed: UInt64
    ) -> Loading {
        var forest = RouteForest()
        let errors = routes.compactMap { forest.add($0, among: routes) }
        let overlaps = tooManyOverlaps(in: forest, routes)
        let unplaced = routes.indices.filter { forest.patterns[$0] == nil && !forest.tied.contains($0) }
        return Loading(
            partial: RouteTable(forest, seed: seed),
            problems: errors + routes.flatMap(managedTrailers) + overlaps.map(\.problem)
                + doubtfulNeighbours(in: forest, routes, besides: broken.union(forest.tied)),
            tied: forest.tied, unforeseeable: Set(unplaced + overlaps.map(\.index)))
    }

    /// What only the gateway may name is no trailer either, in any spelling (R22).
    private static func managedTrailers(_ route: GatewayConfiguration.Route) -> [RouteProblem] {
        (route.requestTrailers + route.responseTrailers).filter(ManagedFields.isManaged).map { name in
            RouteProblem(
                severity: .error, location: route.location,
                message: "the trailer '\(name)' is the gateway's own to write",
                cure: "leave it out of 'trailers'")
        }
    }

    private static func tooManyOverlaps(
        in forest: RouteForest, _ routes: [GatewayConfiguration.Route]
    ) -> [(index: Int, problem: RouteProblem)] {
        routes.indices.compactMap { index in
            guard let host = forest.hosts[index], forest.hosts.firstIndex(of: host) == index,
                let steps = forest.trees[host]?.stepsMax, steps > stepsLimit
            else { return nil }
            let problem = RouteProblem(
                severity: .error, location: routes[index].location,
                message: "this route and the others of its host overlap so that one path may take \(steps) steps",
                cure: "at most \(stepsLimit) are allowed: write literals in place of some '*'")
            return (index, problem)
        }
    }

    /// Warnings about pairs of routes of one host whose order may surprise.
    private static func doubtfulNeighbours(
        in forest: RouteForest, _ routes: [GatewayConfiguration.Route], besides broken: Set<Int>
    ) -> [RouteProblem] {
        var problems: [RouteProblem] = []
        for (index, route) in routes.enumerated() where !broken.contains(index) {
            guard let pattern = forest.patterns[index], let tree = forest.hosts[index].flatMap({ forest.trees[$0] })
            else { continue }
            let neighbours = tree.overlapping(pattern).filter { !broken.contains($0) }.sorted().compactMap { other in
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
