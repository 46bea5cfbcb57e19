import HTTPModel
import Testing

/// RFC 6265 sections 4.2 and 5.2, read leniently: a cookie that is not understood is absent.
struct CookieFieldsTests {
    @Test(arguments: [
        ("a=b", ["a=b"]), ("a=b; c=d", ["a=b", "c=d"]), ("a=b;c=d", ["a=b", "c=d"]),
        ("a=b ;\tc = d ;", ["a=b", "c=d"]), ("a=\"b\"", ["a=b"]),
        ("a=\"b; c=d\"", ["a=\"b", "c=d\""]), ("a=\"", ["a=\""]), ("a=\"\"", ["a="]), ("a=b=c", ["a=b=c"]),
        ("a=", ["a="]), ("=b", ["=b"]), ("a", []),
        ("", []), (";;; ", []), ("a; b=c", ["b=c"]), ("a=b, c=d", ["a=b, c=d"]), ("\u{E9}=\u{1}", ["\u{E9}=\u{1}"]),
        ("=a=b", ["=a=b"]),
    ])
    func `finds names and values`(field: String, pairs: [String]) {
        let input = Array(field.utf8)
        var cookies = CookieFields(0..<input.count)
        var found: [String] = []
        while let cookie = cookies.next(in: input.span) {
            found.append("\(text(input, cookie.name))=\(text(input, cookie.value))")
        }
        #expect(found == pairs)
    }

    @Test(arguments: [
        ("s=1", "1"), ("a=b; s=1; c=d", "1"), ("s = 1", "1"), ("s=\"1\"", "1"), ("s=", ""), ("S=2; s=1", "1"),
        ("as=2; sa=3; s=1", "1"), ("s; s=1", "1"),
        ("a=s=2; s=1", "1"),
    ])
    func `R63 finds the one value of a name`(field: String, value: String) {
        let input = Array(field.utf8)
        guard case .one(let range) = find("s", in: input) else {
            Issue.record("\(find("s", in: input))")
            return
        }
        #expect(text(input, range) == value)
    }

    @Test(arguments: ["", "S=1", "a=s", "s", "\"s\"=1", "ss=1", "a=\"s=1", "=s", "=s=1", "s\0=1"])
    func `R63 takes what is not the name for absent`(field: String) {
        #expect(find("s", in: Array(field.utf8)) == .none)
    }

    @Test(arguments: ["s=1; s=1", "s=1; s=2", "s=;s=", "a=b; s=1; c=d; s =2; s=3"])
    func `tells when a name occurs twice`(field: String) {
        #expect(find("s", in: Array(field.utf8)) == .several)
    }

    @Test func `merges what several fields hold`() {
        let one = CookieFields.Match.one(0..<1)
        #expect(CookieFields.Match.none.merged(with: .none) == .none)
        #expect(CookieFields.Match.none.merged(with: one) == one)
        #expect(one.merged(with: .none) == one)
        #expect(one.merged(with: one) == .several)
        #expect(CookieFields.Match.several.merged(with: .none) == .several)
        #expect(CookieFields.Match.several.merged(with: one) == .several)
    }

    @Test(arguments: [
        ("s=1", ""), ("s=1; a=b", "a=b"), ("a=b; s=1", "a=b"), ("a=b; s=1; c=d", "a=b; c=d"), ("s=1; s=2; t=3", ""),
        ("a=b", "a=b"),
        ("a=b; c=d;e=f", "a=b; c=d;e=f"), ("\"s\"=1; a=b", "a=b"), (" s =1;a=b", "a=b"), ("\" s\"=1; a=b", "a=b"),
        ("S=1", "S=1"),
        ("a=b; s=1; c=d; t=2; e=f", "a=b; c=d; e=f"), ("a; s=1; b", "a; b"), ("s", "s"), ("a=b; ; s=1", "a=b"),
        ("", ""), ("; ;", ""), ("a=s=1", "a=s=1"),
        ("s=\"1\";a=b;t", "a=b;t"),
    ])
    func `cuts cookies out`(field: String, left: String) {
        let input = Array(field.utf8)
        var output: [UInt8] = []
        CookieFields.forEachKept(
            of: 0..<input.count, in: input.span, cutting: { ["s", "t"].contains(string($0)) },
            keep: { output += input[$0] })
        #expect(String(decoding: output, as: UTF8.self) == left)
    }

    @Test func `keeps the ranges few`() {
        let input = bytes("a=b; c=d; s=1; e=f; g=h")
        var ranges: [Range<Int>] = []
        CookieFields.forEachKept(
            of: 0..<input.count, in: input.span, cutting: { string($0) == "s" }, keep: { ranges.append($0) })
        #expect(ranges == [0..<8, 13..<23])
    }

    @Test(arguments: [
        ("s=1", "s"), ("s=1; Path=/; HttpOnly", "s"), (" s = 1", "s"), ("\"s\"=1", "s"), ("=s=1", "s"),
        (" = s =1", "s"), ("==s=1", "s"),
        ("__Host-x=\"a;b\"", "__Host-x"), ("s=", "s"),
    ])
    func `finds the name that Set-Cookie sets`(field: String, name: String) {
        let input = Array(field.utf8)
        #expect(SetCookie.name(of: 0..<input.count, in: input.span).map { text(input, $0) } == name)
    }

    @Test(arguments: ["", "s", "=s", "; s=1", "s; a=b", "=", "\"\"=1"])
    func `finds no name where none is set`(field: String) {
        let input = Array(field.utf8)
        #expect(SetCookie.name(of: 0..<input.count, in: input.span) == nil)
    }

    @Test func `R70 reads every field of random bytes within its bounds`() {
        var generator = SeededGenerator(state: 7)
        for _ in 0..<20_000 {
            let input = (0..<Int.random(in: 0..<24, using: &generator)).map { _ in
                Array("st=;\" \tab\0".utf8).randomElement(using: &generator) ?? 0
            }
            // By plain string handling: what stands between semicolons, cut at the first equals sign.
            let blanks: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 }
            let names = input.split(separator: 0x3B).compactMap { part -> [UInt8]? in
                guard let equals = part.firstIndex(of: 0x3D) else { return nil }
                return Array(part[..<equals].drop(while: blanks).reversed().drop(while: blanks).reversed())
            }
            let count = names.count { $0 == bytes("s") }
            switch find("s", in: input) {
            case .none: #expect(count == 0)
            case .one: #expect(count == 1)
            case .several: #expect(count > 1)
            }
        }
    }

    private func find(_ name: String, in input: [UInt8]) -> CookieFields.Match {
        CookieFields.value(named: Array(name.utf8).span, of: 0..<input.count, in: input.span)
    }

    private func text(_ bytes: [UInt8], _ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
}
