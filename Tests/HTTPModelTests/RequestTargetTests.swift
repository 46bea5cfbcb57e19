import HTTPModel
import Testing

/// The rules for request targets, by tables and against the slow reference.
struct RequestTargetTests {
    @Test(arguments: [
        ("/", "/"), ("", "/"), ("/a", "/a"), ("/a/b.c/~d-e_f", "/a/b.c/~d-e_f"), ("/a/", "/a/"),
        ("/%41%7a%30%2D%2e%5f%7E", "/Az0-._~"),
        ("/%c3%a9", "/%C3%A9"), ("/a%20b", "/a%20b"), ("/a|b\"<>^`{}[]", "/a|b\"<>^`{}[]"), ("/a;x=1/b", "/a;x=1/b"),
        ("/a//b", "/a//b"), ("/a//", "/a//"), ("/.well-known/x", "/.well-known/x"), ("/...", "/..."), ("/..a", "/..a"),
        ("/a..", "/a.."),
        ("/.%2e%2e", "/..."), ("/a%2eb", "/a.b"), ("/a/;..", "/a/;.."),
    ])
    func `brings a path into its normal form`(path: String, normal: String) {
        let facts = normalize(path)
        #expect(facts.error == nil)
        #expect(facts.path == normal)
    }

    @Test func `says when a path is sent as it came`() {
        #expect(normalize("/a/b;c@d").isUnchanged)
        #expect(!normalize("/a/../b").isUnchanged)
        #expect(!normalize("/%61").isUnchanged)
    }

    @Test(arguments: [
        ("/public/../admin", "/admin"), ("/a/./b", "/a/b"), ("/a/b/..", "/a/"), ("/a/.", "/a/"), ("/.", "/"),
        ("/./", "/"), ("/a/..", "/"),
        ("/a/../", "/"), ("/a/b/../../c", "/c"), ("/./a", "/a"), ("/a//../b", "/a/b"), ("/a/b/c/./../../g", "/a/g"),
        ("/mid/content=5/../6", "/mid/6"),
    ])
    func `R04 resolves dot segments once`(path: String, normal: String) {
        #expect(normalize(path).error == nil)
        #expect(normalize(path).path == normal)
        #expect(normalize(normal).path == normal)
    }

    @Test(arguments: ["/..", "/../a", "/a/../..", "/a/../../b", "/./..", "/a/b/../../../c", "/.././a"])
    func `R04 refuses a path that climbs above the root`(path: String) {
        #expect(normalize(path).error == .climbsAboveRoot)
    }

    @Test(arguments: [
        "/..;/admin", "/.;/admin", "/.;x/admin", "/..;x/admin", "/public/..;/admin", "/public/..;a=b/admin",
        "/public/.;/../admin",
        "/public/..;;/admin", "/public/..;..", "/..;", "/.;", "/a/..;", "/a/.;", "/a/.;.", "/a/%2e%2e/b", "/a/%2E%2e/b",
        "/a/.%2e/b", "/a/%2e./b",
        "/a/%2e/b", "/%2e", "/%2E%2E", "/a/%2e%2e;/b", "/a/%2e;x/b", "/a/.%2e;/b", "/a/..%3b/b", "/a/..%3Bx/b",
        "/a/.%3b/b", "/a/%2e%2e%3b/b",
        "/a/..%00/b", "/a/.%00/b", "/a/..%2fb", "/a/..%2Fb", "/a/..%5cb", "/a/..%5C/b", "/a%2f../b", "/a%2f%2e%2e/b",
        "/a%2F.%2Fb", "/a%5c..%5cb",
        "/a%5c../b", "/a%2f..;/b", "/%2e%2e%2f", "/a/.%5c.%5c", "/a%2f..",
    ])
    func `R05 refuses a dot segment in disguise`(path: String) {
        #expect(normalize(path).error == .disguisedDotSegment)
        // The same wherever it stands.
        #expect(normalize("/x/y/z" + path).error == .disguisedDotSegment)
        #expect(normalize("/x/y/z" + path + "/w").error == .disguisedDotSegment)
    }

    @Test(arguments: ["/a;x/b", "/;/b", "/a;..", "/a;/b", "/a/b;../c", "/a..;/b", "/...;/b", "/a/x..%3b/b", "/a/;.;/b"])
    func `R05 keeps other parameters`(path: String) {
        #expect(normalize(path).error == nil)
    }

    @Test(arguments: [
        ("%2f", EncodedSpecials.slash), ("%5c", .backslash), ("%00", .nul), ("%0a", .controls), ("%1F", .controls),
        ("%7f", .controls),
    ])
    func `R06 reports encoded bytes that a route must list`(escape: String, special: EncodedSpecials) {
        for path in ["/a\(escape)b", "/a\(escape.uppercased())b", "/\(escape)", "/a/b\(escape)"] {
            let facts = normalize(path)
            #expect(facts.error == nil)
            #expect(facts.specials == special)
            #expect(facts.path == path.replacing(escape, with: escape.uppercased()))
        }
    }

    @Test(arguments: [
        ("/a%23b", "/a%23b"), ("/a%25b", "/a%25b"), ("/a%3bb", "/a%3Bb"), ("/a%3Fb", "/a%3Fb"),
        ("/a%252fb", "/a%252fb"), ("/a%252e%252e/b", "/a%252e%252e/b"),
        ("/%2500", "/%2500"), ("/a%25%32%66", "/a%252f"),
    ])
    func `R06 keeps other encoded bytes as data and decodes once`(path: String, normal: String) {
        let facts = normalize(path)
        #expect(facts.error == nil)
        #expect(facts.path == normal)
        #expect(facts.specials == [])
    }

    @Test func `R06 forgets encoded bytes in a segment that a dot segment removes`() {
        #expect(normalize("/a%00b/../c").specials == [])
        #expect(normalize("/a%00b/../c").path == "/c")
    }

    @Test(arguments: [
        "/%", "/%4", "/a%", "/%4/b", "/%g0", "/%0g", "/%%41", "/%2%35", "/% 41", "/%u0041", "/%-1", "/a%/../b",
    ])
    func `refuses a broken escape`(path: String) {
        #expect(normalize(path).error != nil)
        if path != "/% 41" { #expect(normalize(path).error == .badEscape) }
    }

    @Test func `R02 R08 refuses raw bytes by value`() {
        for byte in UInt8.min...UInt8.max {
            for path in [bytes("/a") + [byte] + bytes("b"), bytes("/%61") + [byte] + bytes("b")] {
                let isRefused = byte <= 0x20 || byte > 0x7E || "#\\?".utf8.contains(byte)
                let error = normalize(path).error
                switch byte {
                case 0x25: #expect(error == .badEscape || error == nil)
                default: #expect(error == (isRefused ? .invalidByte : nil), "\(byte)")
                }
            }
        }
    }

    @Test(arguments: ["//", "//admin", "///admin", "/.//admin", "/a/..//admin", "/a/b/../..//c", "/././/a", "/a/..//"])
    func `R09 refuses a path that begins with two slashes, also once resolved`(path: String) {
        #expect(normalize(path).error == .leadingSlashes)
    }

    @Test func `refuses a path without a slash at its beginning`() {
        for path in ["a", "*", "a/b", ".", "%2F", "http://a/"] { #expect(normalize(path).error == .notAbsolute) }
    }

    @Test(arguments: [
        "/%C3%28", "/%c3", "/%c3/%a9", "/%c3a%a9", "/%a9", "/%c0%af", "/%c0%ae%c0%ae/a", "/%e0%80%af", "/%ed%a0%80",
        "/%f4%90%80%80", "/%ff", "/%f5%80%80%80", "/%e2%82",
    ])
    func `R10 refuses a path that is no UTF-8 unless it is allowed`(path: String) {
        #expect(normalize(path).error == .invalidUTF8)
        let allowed = normalize(path, policy: TargetPolicy(allowInvalidUTF8: true))
        #expect(allowed.error == nil)
        #expect(allowed.path.uppercased() == path.uppercased())
        // What else is wrong stays wrong.
        #expect(normalize(path + "/%2e", policy: TargetPolicy(allowInvalidUTF8: true)).error == .disguisedDotSegment)
    }

    @Test(arguments: [
        "/%c3%a9", "/%e2%82%ac", "/%f0%9f%98%80", "/%ed%9f%bf", "/%ee%80%80", "/%f4%8f%bf%bf", "/%c2%80", "/%e0%a0%80",
        "/%f0%90%80%80",
    ])
    func `R10 accepts UTF-8`(path: String) {
        #expect(normalize(path).error == nil)
    }

    @Test func `counts segments on both sides of the limit`() {
        for segment in ["/a", "/%61", "/a%2Fb"] {
            #expect(normalize(String(repeating: segment, count: 64)).error == nil)
            #expect(normalize(String(repeating: segment, count: 65)).error == .tooManySegments)
        }
        #expect(normalize(String(repeating: "/a/..", count: 32)).path == "/")
        #expect(normalize(String(repeating: "/a/..", count: 33)).error == .tooManySegments)
        #expect(normalize(String(repeating: "/a", count: 63) + "/").error == nil)
        #expect(normalize(String(repeating: "/a", count: 64) + "/").error == .tooManySegments)
    }

    @Test(arguments: [
        ("/a/b", []), ("/a//b", ["/a/b"]), ("/a///b//", ["/a/b/"]), ("/a%2Fb", ["/a/b"]), ("/a%5Cb", ["/a/b"]),
        ("/a%2F/b", ["/a//b", "/a/b"]),
        ("/a%2Fb%5Cc", ["/a%2Fb/c", "/a/b%5Cc", "/a/b/c"]), ("/a%2F%2Fb", ["/a//b", "/a/b"]), ("/%40a", ["/@a"]),
        ("/a%20b", ["/a b"]),
        ("/a%3Bb//c", ["/a%3Bb/c", "/a;b/c", "/a;b//c"]), ("/%C3%A9", []), ("/a%252Fb", ["/a%2Fb"]), ("/a%00b", []),
    ])
    func `R06 R09 shows every way to read a path`(path: String, readings: [String]) {
        #expect(normalize(path).readings == readings.sorted())
    }

    @Test(arguments: [
        "/%2Fadmin", "/%5Cadmin", "/%2f%2fadmin", "/%5c/admin", String(repeating: "/a", count: 63) + "/a%2Fb",
    ])
    func `R09 refuses a path that an application may read as one of the refused`(path: String) {
        #expect(normalize(path).error == nil)
        #expect(normalize(path).readings == nil)
    }

    @Test func `stops showing readings when told to`() {
        var path = NormalizedPath()
        #expect(RequestTarget.normalize(path: bytes("/a%2Fb%5Cc").span, into: &path) == nil)
        var count = 0
        let error = path.alternativeReadings { _ in
            count += 1
            return false
        }
        #expect(error == nil)
        #expect(count == 1)
    }

    @Test func `R04 R05 R06 R09 R10 agrees with the slow reference on generated paths`() {
        let pieces =
            [
                "/", "/", "/", ".", "..", "/..", "/../", "/./", "//", "%2e", "%2E", ";", "%3b", "%2f", "%2F", "%5C",
                "%00", "%1f", "%7F", "a", "b", "%41", "%7e",
                "%25", "%", "%4", "%c3%a9", "%C3", "%28", "%c0%af", "\\", "#", "?", "~", "%20", "%40", "@", "\t",
                "x;y=z", "%252e",
            ].map { Array($0.utf8) } + [[0xC3, 0xA9], [0x80]]
        var generator = SeededGenerator(state: 20_261_121)
        var accepted = 0
        var buffer = NormalizedPath()
        for _ in 0..<40_000 {
            var path: [UInt8] = Int.random(in: 0..<20, using: &generator) == 0 ? [] : [0x2F]
            for _ in 0..<Int.random(in: 0..<10, using: &generator) {
                // Harmless pieces more often, so that many paths get through.
                let limit = Bool.random(using: &generator) ? 16 : pieces.count
                path += pieces[Int.random(in: 0..<limit, using: &generator)]
            }
            let allows = Bool.random(using: &generator)
            let facts = normalize(path, policy: TargetPolicy(allowInvalidUTF8: allows), reusing: &buffer)
            let reference = ReferenceNormalizer.normalize(path, allowInvalidUTF8: allows)
            let name = String(decoding: path, as: UTF8.self)
            guard let reference else {
                #expect(facts.error != nil, "\(name)")
                continue
            }
            accepted += 1
            guard facts.error == nil, facts.path == reference.path, facts.specials == reference.specials,
                facts.readings == reference.readings
            else {
                Issue.record("\(name): \(facts), not \(reference)")
                continue
            }
            #expect(
                normalize(Array(facts.path.utf8), policy: TargetPolicy(allowInvalidUTF8: allows)).path == facts.path)
        }
        #expect(accepted > 5_000)
    }
}

/// All that a normalised path says.
private struct PathFacts {
    var error: TargetError?
    var path = ""
    var isUnchanged = false
    var specials: EncodedSpecials = []
    /// The readings other than the path, each once, in order; nil if one is refused.
    var readings: [String]? = []
}

private func normalize(_ path: String, policy: TargetPolicy = TargetPolicy()) -> PathFacts {
    normalize(Array(path.utf8), policy: policy)
}

private func normalize(_ path: [UInt8], policy: TargetPolicy = TargetPolicy()) -> PathFacts {
    var buffer = NormalizedPath(capacity: max(path.count, 1))
    return normalize(path, policy: policy, reusing: &buffer)
}

private func normalize(_ path: [UInt8], policy: TargetPolicy, reusing buffer: inout NormalizedPath) -> PathFacts {
    var facts = PathFacts()
    facts.error = RequestTarget.normalize(path: path.span, policy: policy, into: &buffer)
    guard facts.error == nil else { return facts }
    facts.path = string(buffer.bytes)
    facts.isUnchanged = buffer.isUnchanged
    facts.specials = buffer.encodedSpecials
    var readings: Set<String> = []
    let promised = buffer.hasAlternativeReadings
    let error = buffer.alternativeReadings {
        readings.insert(string($0))
        return true
    }
    if !promised, !readings.isEmpty || error != nil { Issue.record("readings of \(facts.path) came unannounced") }
    readings.remove(facts.path)
    facts.readings = error == nil ? readings.sorted() : nil
    return facts
}

/// The text of a span.
func string(_ span: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    for index in span.indices { bytes.append(span[index]) }
    return String(decoding: bytes, as: UTF8.self)
}
