import JOSE
import Testing

struct JSONReaderTests {
    @Test(
        arguments: [
            ("null", .null), ("true", true), (" \t\r\nfalse ", false), ("0", 0), ("-1", -1), ("\"\"", ""),
            ("[]", []), ("{}", [:]), ("[1,[2,\"3\"],{}]", [1, [2, "3"], [:]]),
            (#"{"a":{"b":[null]},"":1}"#, ["a": ["b": [.null]], "": 1]),
            (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
            (#""\u0041\u00e9\uD83D\uDE00\u0000""#, "A\u{E9}\u{1F600}\0"),
            ("\"\u{1F600}\u{7F}\"", "\u{1F600}\u{7F}"),
        ] as [(String, JSONValue)])
    func `reads each kind of value`(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: Array(text.utf8)) == value)
        #expect(try JSONValue(parsing: Array(text.utf8).span) == value)
    }

    @Test(arguments: [
        ("", 0, JSONError.Problem.unexpectedEnd), ("  ", 2, .unexpectedEnd), ("tru", 3, .unexpectedEnd),
        ("trux", 3, .unexpectedByte), ("TRUE", 0, .unexpectedByte), ("NaN", 0, .unexpectedByte),
        ("Infinity", 0, .unexpectedByte), ("-Infinity", 1, .invalidNumber), ("+1", 0, .unexpectedByte),
        (".5", 0, .unexpectedByte), ("1.", 2, .unexpectedEnd), ("1.e1", 2, .invalidNumber), ("01", 1, .invalidNumber),
        ("-01", 2, .invalidNumber), ("1e", 2, .unexpectedEnd), ("1e+-1", 3, .invalidNumber),
        ("0x10", 1, .trailingBytes),
        ("[1,]", 3, .unexpectedByte), ("[1", 2, .unexpectedEnd), ("[,1]", 1, .unexpectedByte),
        ("[1 2]", 3, .unexpectedByte), ("{\"a\":1,}", 7, .unexpectedByte), ("{a:1}", 1, .unexpectedByte),
        ("{\"a\" 1}", 5, .unexpectedByte), ("{\"a\":}", 5, .unexpectedByte), ("{", 1, .unexpectedEnd),
        ("{} {}", 3, .trailingBytes), ("1\0", 1, .trailingBytes), ("'a'", 0, .unexpectedByte),
        ("\"a", 2, .unexpectedEnd), ("\"\\", 2, .unexpectedEnd), (#""\x41""#, 1, .invalidEscape),
        (#""\u00g1""#, 1, .invalidEscape), (#""\u+041""#, 1, .invalidEscape), ("\"\\u00", 5, .unexpectedEnd),
        (#""\uD83D""#, 1, .loneSurrogate), (#""\uDE00""#, 1, .loneSurrogate), (#""\uD83D\n""#, 1, .loneSurrogate),
        (#""\uD83D\uD83D""#, 1, .loneSurrogate), (#""\uD83D\u0041""#, 1, .loneSurrogate),
        ("\"a\nb\"", 2, .controlCharacter), ("\"\u{1F}\"", 1, .controlCharacter), ("\u{FEFF}1", 0, .unexpectedByte),
        ("// c\n1", 0, .unexpectedByte), (#"{"a":1,"a":2}"#, 7, .duplicateName),
        (#"{"a":1,"\u0061":2}"#, 7, .duplicateName), (#"{"a":{"x":1,"x":1}}"#, 12, .duplicateName),
        (#"{"K":1,"\u212A":2}"#, 7, .duplicateName),
    ])
    func `refuses what the grammar lacks and names the place`(
        text: String, offset: Int, problem: JSONError.Problem
    ) throws {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: Array(text.utf8)) }
        #expect(error?.offset == offset)
        #expect(error?.problem == problem)
    }

    @Test(
        arguments: [
            [0xFF], [0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0x80],
        ] as [[UInt8]])
    func `refuses strings that are not UTF-8`(bytes: [UInt8]) {
        let text = [UInt8(ascii: "\"")] + bytes + [UInt8(ascii: "\"")]
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        #expect(error?.problem == .invalidUTF8)
    }

    @Test func `nests 32 values and no more`() throws {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            func text(_ depth: Int) -> [UInt8] {
                Array((String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)).utf8)
            }
            _ = try JSONValue(parsing: text(32))
            let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text(33)) }
            #expect(error?.problem == .tooDeep)
        }
        let hostile = [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)
        #expect(throws: JSONError(offset: 32, problem: .tooDeep)) { try JSONValue(parsing: hostile) }
    }

    @Test func `takes as many bytes as permitted and no more`() throws {
        _ = try JSONValue(parsing: Array("[1]".utf8), bytesMax: 3)
        #expect(throws: JSONError(offset: 2, problem: .tooLong)) {
            try JSONValue(parsing: Array("[1]".utf8), bytesMax: 2)
        }
        #expect(throws: JSONError(offset: 2, problem: .tooLong)) {
            try JSONValue(parsing: Array("[1]".utf8).span, bytesMax: 2)
        }
    }

    @Test func `looks names up byte by byte and keeps their order`() throws {
        let object = try #require(JSONValue(parsing: Array(#"{"b":1,"a":2,"\u212A":3}"#.utf8)).object)
        #expect(object.members.map(\.name) == ["b", "a", "\u{212A}"])
        #expect(object["a"] == 2)
        #expect(object["K"] == nil)
        #expect(object["\u{212A}"] == 3)
        #expect(JSONValue.string("K") != .string("\u{212A}"))
    }

    @Test func `members are replaced, removed and appended`() {
        var object: JSONObject = ["a": 1, "b": 2]
        object["a"] = "new"
        object["c"] = 3
        object["b"] = nil
        object["absent"] = nil
        #expect(object == ["a": "new", "c": 3])
    }

    @Test func `a promise of distinct names that is not kept ends the program`() async {
        await #expect(processExitsWith: .failure) { _ = JSONObject([("a", 1), ("a", 2)]) }
    }

    @Test func `every text cut short is refused`() throws {
        let text = Array(#"{"a":[1.5e3,"\u00e9\n",true,null],"b":{"c":false}}"#.utf8)
        _ = try JSONValue(parsing: text)
        for count in text.indices {
            #expect(throws: JSONError.self) { try JSONValue(parsing: Array(text.prefix(count))) }
        }
    }
}
