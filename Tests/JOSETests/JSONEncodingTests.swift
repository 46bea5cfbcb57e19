import JOSE
import Testing

struct JSONEncodingTests {
    @Test(
        arguments: [
            (.null, "null"), (true, "true"), (-5, "-5"), ([], "[]"), ([1, "a"], #"[1,"a"]"#),
            (["b": 1, "a": [:]], #"{"b":1,"a":{}}"#), ("\u{1F600}\u{E9}", "\"\u{1F600}\u{E9}\""),
            ("\"\\\n\r\t\0\u{1F}\u{7F}", #""\"\\\n\r\t\u0000\u001F\u007F""#),
            ("</script>", #""\u003C/script>""#), ("\u{2028}\u{2029}\u{202A}", "\"\\u2028\\u2029\u{202A}\""),
            (["<": "x"], #"{"\u003C":"x"}"#),
        ] as [(JSONValue, String)])
    func `writes the shortest text that is safe in a page`(value: JSONValue, text: String) {
        #expect(String(decoding: value.encoded(), as: UTF8.self) == text)
    }

    @Test func `every character comes back from the text`() throws {
        for value in (0...0x10FFFF as ClosedRange<UInt32>).lazy.filter({ $0 < 0x3000 || $0 % 257 == 0 }) {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let string = JSONValue.string("a\(scalar)b")
            #expect(try JSONValue(parsing: string.encoded()) == string)
        }
    }

    @Test func `numbers keep their text`() throws {
        let text = Array("[1.0,1e3,0.10,-0]".utf8)
        #expect(try JSONValue(parsing: text).encoded() == text)
    }
}
