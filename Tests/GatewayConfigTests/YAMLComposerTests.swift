import Testing

@testable import GatewayConfig

@Suite struct YAMLComposerTests {
    private func compose(_ text: String, caps: YAMLComposer.Caps = .init()) -> YAMLComposer.Outcome {
        YAMLComposer.compose(Array(text.utf8), caps: caps)
    }

    @Test func `keeps order, places and quotes`() throws {
        let root = try #require(compose("b: 1\na:\n  - 'on'\n  - {x: y}\n").root)
        guard case .mapping(let pairs) = root.value else {
            Issue.record("no mapping")
            return
        }
        #expect(pairs.map(\.key) == ["b", "a"])
        #expect(pairs.map(\.line) == [1, 2])
        guard case .sequence(let members) = pairs[1].node.value, case .scalar("on", isQuoted: true) = members[0].value
        else {
            Issue.record("no quoted scalar")
            return
        }
        #expect(members.map(\.line) == [3, 4] && members.map(\.column) == [5, 5])
    }

    @Test func `counts columns in characters`() throws {
        let problem = try #require(compose("# ä\nä: &x 1").problems.first)
        #expect(problem.line == 2 && problem.column == 4)
    }

    @Test(arguments: [
        ("a: &x 1\nb: 2", "an anchor", 1), ("a: 1\nb: *x", "an alias", 2), ("a: !!str 1", "a tag", 1),
        ("a: !x {}", "a tag", 1), ("a: 1\na: 2", "a second time, first in line 1", 2),
        ("a:\n  <<: {b: 1}", "a merge key", 2), ("a: 1\n---\nb: 2", "a second document", 2),
        ("%YAML 1.1\n---\na: 1", "a directive", 1), ("[a]: 1", "a key is no plain text", 1),
        ("? *x\n: 1", "a key is no plain text", 1), ("&k a: 1", "a key is no plain text", 1),
        ("a: [1, 2", "this is not YAML", 2), ("a:\n\t- 1", "this is not YAML", 2), ("a: \u{0}", "this is not YAML", 1),
    ])
    func `refuses what could be read in two ways`(text: String, words: String, line: Int) {
        let problems = compose(text).problems
        #expect(problems.contains { $0.message.contains(words) && $0.line == line }, "\(problems)")
    }

    @Test func `a quoted merge key is text`() {
        #expect(compose("'<<': 1").problems.isEmpty)
    }

    @Test func `collects refusals that leave the rest readable`() {
        #expect(compose("a: &x 1\nb: !t 2\nc: *x\na: 3").problems.map(\.line) == [1, 2, 3, 4])
    }

    @Test(arguments: [
        [0x61, 0x3A, 0x20, 0xFF], [0x61, 0x3A, 0x20, 0xC0, 0x80], [0x61, 0x3A, 0x20, 0xED, 0xA0, 0x80],
        [0x61, 0x3A, 0x20, 0xE2, 0x82],
    ])
    func `refuses bytes that are not UTF-8, with their place`(bytes: [Int]) throws {
        let problem = try #require(YAMLComposer.compose([0x0A] + bytes.map { UInt8($0) }).problems.first)
        #expect(problem.message == "these bytes are not UTF-8")
        #expect(problem.line == 2 && problem.column == 4)
    }

    @Test func `refuses UTF-16, which libyaml would take by its mark`() {
        #expect(YAMLComposer.compose([0xFE, 0xFF, 0x00, 0x61, 0x00, 0x3A, 0x00, 0x20, 0x00, 0x31]).root == nil)
    }

    @Test func `reads up to the caps and not beyond`() {
        let caps = YAMLComposer.Caps(bytesMax: 40, depthMax: 3, nodesMax: 6)
        #expect(compose("[[[1]]]", caps: caps).problems.isEmpty)
        #expect(compose("[[[[1]]]]", caps: caps).problems.map(\.message) == ["the nesting is too deep"])
        #expect(compose("[1,2,3,4,5]", caps: caps).problems.isEmpty)
        #expect(compose("[1,2,3,4,5,6]", caps: caps).problems.map(\.message) == ["the file holds too many values"])
        #expect(compose(String(repeating: "a", count: 40), caps: caps).problems.isEmpty)
        #expect(
            compose(String(repeating: "a", count: 41), caps: caps).problems.map(\.message) == ["the file has 41 bytes"])
    }

    @Test func `a file of nothing but brackets ends at the depth cap`() {
        let text = String(repeating: "[", count: 1 << 20)
        #expect(compose(text).problems.map(\.message) == ["the nesting is too deep"])
    }

    @Test func `an empty file has no root and no problem`() {
        for text in ["", "\n\n", "# only a comment\n"] {
            let outcome = compose(text)
            #expect(outcome.root == nil && outcome.problems.isEmpty)
        }
    }

    @Test func `every prefix of a file ends in a root or a problem`() {
        let text = Array(WholeFileTests.example.utf8)
        for count in text.indices {
            let result = ConfigurationLoader.load(
                bytes: Array(text[..<count]), file: "gateway.yaml", environment: [:], fileAccess: MemoryFiles.usual)
            #expect(result.configuration != nil || result.hasErrors)
        }
    }
}
