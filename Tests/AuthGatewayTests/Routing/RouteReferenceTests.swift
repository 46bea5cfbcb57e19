import GatewayConfig
import Testing

@testable import AuthGateway

/// Route matching as its prose says it: try each route, rank those that match. Strings and lists only.
enum SlowMatcher {
    static func match(_ routes: [(host: String?, path: String)], host: String, path: String) -> Int? {
        let hostRanks = routes.map { rank(ofHost: $0.host, host) }
        guard let best = hostRanks.compactMap(\.self).min() else { return nil }
        return routes.indices.filter { hostRanks[$0] == best }
            .compactMap { index in rank(ofPath: routes[index].path, path).map { (index, $0) } }
            .min { $0.1.lexicographicallyPrecedes($1.1) }?.0
    }

    /// Smaller is more specific: exact, then wildcards by length, then none.
    private static func rank(ofHost pattern: String?, _ host: String) -> Int? {
        guard let pattern else { return 1_000 }
        if pattern.hasPrefix("*.") {
            let suffix = String(pattern.dropFirst(1))
            return host.hasSuffix(suffix) && host.count > suffix.count ? 500 - suffix.count : nil
        }
        return pattern == host ? 0 : nil
    }

    /// One number for each segment: literal 0, `*` 1, `**` 3; the end is 0 as spelled, 2 with the other final slash.
    private static func rank(ofPath pattern: String, _ path: String) -> [Int]? {
        guard path.hasPrefix("/") else { return nil }
        var wanted = pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        var given = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let wantsSlash = wanted.last == ""
        let hasSlash = given.last == ""
        if wantsSlash { wanted.removeLast() }
        if hasSlash { given.removeLast() }
        var rank: [Int] = []
        for (index, segment) in wanted.enumerated() {
            if segment == "**" { return rank + [3] }
            guard index < given.count else { return nil }
            if segment == "*" {
                guard given[index] != "" else { return nil }
                rank.append(1)
            } else {
                guard decoded(segment) == decoded(given[index]) else { return nil }
                rank.append(0)
            }
        }
        guard given.count == wanted.count else { return nil }
        return rank + [wantsSlash == hasSlash ? 0 : 2]
    }

    private static func decoded(_ segment: String) -> [UInt8] {
        var output: [UInt8] = []
        var rest = Substring(segment)
        while let first = rest.utf8.first {
            if first == UInt8(ascii: "%"), let byte = UInt8(rest.dropFirst().prefix(2), radix: 16) {
                output.append(byte)
                rest = rest.dropFirst(3)
            } else {
                output.append(first)
                rest = rest.dropFirst()
            }
        }
        return output
    }
}

@Suite struct RouteReferenceTests {
    private static let hosts = [nil, "a.test", "*.a.test", "*.test", "b.a.test"]
    private static let asked = ["a.test", "b.a.test", "c.a.test", "c.b.a.test", "z.test", "test", "", "other"]
    private static let literals = ["a", "b", "ab", "a@b", "a%3Fb", "%2A"]
    private static let spelled = ["a", "b", "ab", "a@b", "a%40b", "a%3Fb", "*", "%2A", "a%2Fb", "", "c"]

    private static func path(using random: inout SeededGenerator) -> String {
        var segments = (0..<Int.random(in: 0...4, using: &random)).map { _ in
            Int.random(in: 0..<3, using: &random) == 0 ? "*" : random.pick(literals)
        }
        if Int.random(in: 0..<3, using: &random) == 0 { segments.append("**") }
        let slash = segments.isEmpty || (segments.last != "**" && Bool.random(using: &random)) ? "/" : ""
        return segments.map { "/" + $0 }.joined() + slash
    }

    @Test func `the table answers as the slow matcher does`() throws {
        var random = SeededGenerator(seed: 11)
        var answered = 0
        for _ in 0..<600 {
            var routes: [(host: String?, path: String)] = []
            for _ in 0..<Int.random(in: 1...24, using: &random) {
                let route = (host: random.pick(Self.hosts), path: Self.path(using: &random))
                if !routes.contains(where: { $0 == route }) { routes.append(route) }
            }
            let fixtures = routes.enumerated().map { Fixture.route($0, host: $1.host, $1.path) }
            let table = try #require(RouteTable.load(fixtures, seed: random.next()).table)
            for _ in 0..<100 {
                let host = random.pick(Self.asked)
                let segments = (0..<Int.random(in: 0...5, using: &random)).map { _ in random.pick(Self.spelled) }
                let path = "/" + segments.joined(separator: "/")
                let (found, steps) = table.search(host, path)
                let expected = SlowMatcher.match(routes, host: host, path: path)
                if found != expected || steps > table.stepsMax {
                    Issue.record("\(host) \(path) gives \(String(describing: found)), \(steps) steps: \(routes)")
                }
                answered += found == nil ? 0 : 1
            }
        }
        #expect((10_000...50_000).contains(answered))
    }

    @Test func `R08 a path is compared with its case and a slow look agrees for mixed spellings`() throws {
        let table = try #require(RouteTable.load([Fixture.route(0, "/admin/Users")], seed: 3).table)
        var matched = 0
        for bits in 0..<(1 << 10) {
            let letters = Array("adminUsers").enumerated().map { index, letter in
                bits >> index & 1 == 0 ? letter.lowercased() : letter.uppercased()
            }
            let path = "/" + letters[..<5].joined() + "/" + letters[5...].joined()
            let found = table.answer("", path)
            #expect((found == 0) == (path == "/admin/Users"))
            matched += found == nil ? 0 : 1
        }
        #expect(matched == 1)
    }
}
