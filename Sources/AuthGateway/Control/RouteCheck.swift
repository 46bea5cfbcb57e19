import GatewayConfig
import HTTPModel

/// The routes of a configuration, ready to match.
struct CompiledRoutes: Sendable {
    let table: RouteTable
    let routes: [CompiledRoute]
}

/// Compiles the routes of a file and runs its tests, as far as what is wrong in it allows.
struct RouteCheck {
    /// What can be served: `nil` unless the whole file reads well and no route or test has an error.
    let compiled: CompiledRoutes?
    let problems: [ConfigurationProblem]

    init(_ result: ConfigurationResult, file: String) {
        guard let parts = result.parts else {
            compiled = nil
            problems = []
            return
        }
        // Names were checked on reading. In a file with errors a limit may lack its definition; tests do not ask for it.
        let routes = result.configuration?.routes ?? parts.routes.map(\.route.withoutLimits)
        let names =
            result.configuration.map(ConfigurationNames.init)
            ?? ConfigurationNames(upstreams: parts.upstreamNames, limits: [])
        let broken = Set(parts.routes.indices.filter { !parts.routes[$0].isSound })
        let loading = RouteTable.load(routes, besides: broken, seed: .random(in: .min ... .max))
        var problems = loading.problems.map { ConfigurationProblem($0, file: file) }
        var compiled: [CompiledRoute?] = []
        for (index, route) in routes.enumerated() {
            guard !broken.contains(index) else {
                compiled.append(nil)
                continue
            }
            do throws(UnresolvedName) {
                compiled.append(try CompiledRoute(route, index: index, in: names))
            } catch {
                compiled.append(nil)
                problems.append(
                    ConfigurationProblem(
                        severity: .error, file: file, location: route.location,
                        message: "no \(error.kind.rawValue) is called '\(error.name)'",
                        cure: "define it under '\(error.kind.rawValue)s'"))
            }
        }
        let runner = RouteTestRunner(
            table: loading.partial,
            routes: compiled.enumerated().map { loading.tied.contains($0.offset) ? nil : $0.element },
            unreadHosts: parts.unreadHosts + loading.unforeseeable.map { routes[$0].host }, grants: parts.roles,
            normalize: RouteCheck.normalize)
        problems += runner.problems(in: parts.tests).map { ConfigurationProblem($0, file: file) }
        let whole = compiled.compactMap(\.self)
        let isSound =
            result.configuration != nil && whole.count == routes.count
            && !problems.contains { $0.severity == .error }
        self.compiled = isSound ? loading.table.map { CompiledRoutes(table: $0, routes: whole) } : nil
        self.problems = problems
    }

    /// A path as requests get it.
    private static func normalize(_ path: [UInt8]) -> RouteTestRunner.Target? {
        var normalized = NormalizedPath(capacity: max(64, path.count))
        guard RequestTarget.normalize(path: path.span, into: &normalized) == nil else { return nil }
        var buffer = ByteBuffer()
        normalized.appendBytes(to: &buffer)
        var target = RouteTestRunner.Target(path: buffer.withBytes { bytes in bytes.indices.map { bytes[$0] } })
        var encoded: Set<UInt8> = []
        for index in target.path.indices {
            guard let byte = decodedEscape(target.path.span, at: index, before: target.path.count) else { continue }
            if byte == 0x2F || byte == 0x5C || byte < 0x20 || byte == 0x7F { encoded.insert(byte) }
        }
        target.encodedBytes = encoded
        var readings: [[UInt8]] = []
        if normalized.hasAlternativeReadings {
            let error = normalized.alternativeReadings { reading in
                readings.append(reading.indices.map { reading[$0] })
                return readings.count < 64
            }
            guard error == nil else { return nil }
        }
        target.otherReadings = readings
        return target
    }
}

extension GatewayConfiguration.Route {
    fileprivate var withoutLimits: Self {
        var copy = self
        copy.limits = []
        if case .rules(var rules) = access {
            for index in rules.indices { rules[index].limits = [] }
            copy.access = .rules(rules)
        }
        return copy
    }
}
