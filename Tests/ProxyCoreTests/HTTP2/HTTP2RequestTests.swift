import HTTPModel
import Testing

@testable import ProxyCore

/// RFC 9113 sections 8.1 to 8.3: what is a request, and what it becomes.
struct HTTP2RequestTests {
    /// The good request with one pseudo field replaced, or taken out.
    private static func with(_ name: String, _ value: String?, in fields: Fields = get) -> Fields {
        fields.compactMap { field in
            guard field.0 == name else { return field }
            return value.map { (name, $0) }
        }
    }

    private static let malformedHeads: [(String, Fields)] = [
        // 8.2.1: names
        ("h2-name-upper", get + [("X-A", "1")]), ("8.2.1 one capital", get + [("xA", "1")]),
        ("8.2.1 empty name", get + [("", "1")]), ("8.2.1 blank in a name", get + [("x a", "1")]),
        ("8.2.1 blank behind a name", get + [("x ", "1")]), ("8.2.1 blank before a name", get + [(" x", "1")]),
        ("8.2.1 tab in a name", get + [("x\t", "1")]), ("8.2.1 colon in a name", get + [("x:", "1")]),
        ("8.2.1 colon within a name", get + [("x:y", "1")]), ("8.2.1 NUL in a name", get + [("x\0", "1")]),
        ("R41 CR in a name", get + [("x\r", "1")]), ("R41 LF in a name", get + [("x\n", "1")]),
        ("R41 a line in a name", get + [("x: 1\r\ny", "1")]), ("8.2.1 high byte in a name", get + [("x\u{80}", "1")]),
        ("8.2.1 DEL in a name", get + [("x\u{7F}", "1")]), ("9110 5.1 no token", get + [("x(", "1")]),
        ("9110 5.1 comma in a name", get + [("x,y", "1")]), ("9110 5.1 quote in a name", get + [("x\"", "1")]),
        // 8.2.1: values
        ("h2-val-0", get + [("x", "a\r\nb: c")]), ("R41 CR in a value", get + [("x", "a\rb")]),
        ("R41 LF in a value", get + [("x", "a\nb")]), ("R41 NUL in a value", get + [("x", "a\0b")]),
        ("8.2.1 blank before a value", get + [("x", " a")]), ("8.2.1 blank behind a value", get + [("x", "a ")]),
        ("8.2.1 tab before a value", get + [("x", "\ta")]), ("8.2.1 tab behind a value", get + [("x", "a\t")]),
        ("8.2.1 only a blank", get + [("x", " ")]), ("9110 5.5 control in a value", get + [("x", "a\u{1}")]),
        ("9110 5.5 DEL in a value", get + [("x", "a\u{7F}")]), ("9110 5.5 VT in a value", get + [("x", "a\u{B}b")]),
        ("R41 a head in a value", get + [("x", "a\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n")]),
        ("R41 a line in a cookie", get + [("cookie", "a=b\r\nx: y")]),
        ("R41 a line in a second cookie", get + [("cookie", "a=b"), ("cookie", "c\r\nx: y")]),
        ("R41 blank behind a second cookie", get + [("cookie", "a=b"), ("cookie", "c ")]),
        // 8.2.2: fields of the connection
        ("8.2.2 connection", get + [("connection", "close")]), ("8.2.2 empty connection", get + [("connection", "")]),
        ("8.2.2 keep-alive", get + [("keep-alive", "timeout=5")]),
        ("8.2.2 proxy-connection", get + [("proxy-connection", "close")]),
        ("R41 8.2.2 transfer-encoding", get + [("transfer-encoding", "chunked")]),
        ("8.2.2 transfer-encoding identity", get + [("transfer-encoding", "identity")]),
        ("8.2.2 upgrade", get + [("upgrade", "h2c")]), ("8.2.2 te", get + [("te", "gzip")]),
        ("8.2.2 te of two", get + [("te", "trailers, gzip")]), ("8.2.2 empty te", get + [("te", "")]),
        // 8.3: pseudo fields
        ("8.3 unknown", get + [(":x", "1")]), ("8.3 unknown in front", [(":x", "1")] + get),
        ("8.3 of a response", [(":status", "200")] + get), ("8.3 empty", [(":", "1")] + get),
        ("8.3 late", get + [("x", "1"), (":authority", "a.test")]),
        ("8.3 all late", [("x", "1")] + get), ("8.3 late path", with(":path", nil) + [("x", "1"), (":path", "/")]),
        ("8.3 in capitals", with(":path", nil) + [(":Path", "/")]),
        ("8.3.1 two methods", get + [(":method", "GET")]), ("8.3.1 two schemes", get + [(":scheme", "https")]),
        ("8.3.1 two paths", get + [(":path", "/")]), ("8.3.1 two authorities", get + [(":authority", "a.test")]),
        ("8.3.1 no method", with(":method", nil)), ("8.3.1 no scheme", with(":scheme", nil)),
        ("h2-pseudo-nopath", with(":path", nil)), ("8.3.1 no field at all", []),
        ("8.3.1 no authority", with(":authority", nil)), ("8.3.1 empty authority", with(":authority", "")),
        ("8.3.1 empty host alone", with(":authority", nil) + [("host", "")]),
        ("8.3.1 empty path", with(":path", "")), ("8.3.1 empty method", with(":method", "")),
        ("8.3.1 empty scheme", with(":scheme", "")), ("8.3.1 scheme of a digit", with(":scheme", "1http")),
        ("R41 scheme with a line", with(":scheme", "https\r\nx: y")),
        ("8.3.1 scheme with a colon", with(":scheme", "https://")),
        ("h2-path-space", with(":path", "/a b")), ("R41 path with a version", with(":path", "/ HTTP/1.1\r\nx: y")),
        ("R41 path with LF", with(":path", "/a\nb")), ("R41 path with NUL", with(":path", "/\0")),
        ("8.3.1 path with a tab", with(":path", "/\t")), ("8.3.1 path with DEL", with(":path", "/\u{7F}")),
        ("8.3.1 path before blank", with(":path", " /")), ("8.3.1 path without a slash", with(":path", "a")),
        ("8.3.1 path is a query", with(":path", "?a")), ("8.3.1 path is a URI", with(":path", "http://b.test/")),
        ("8.3.1 asterisk of GET", with(":path", "*")), ("8.3.1 asterisk and more", with(":path", "*/", in: options)),
        ("R41 method with a blank", with(":method", "GET /admin")),
        ("R41 method with a line", with(":method", "GET\r\n")),
        ("9110 9.1 method is no token", with(":method", "GE(T")), ("9110 9.1 method with NUL", with(":method", "G\0")),
        ("8.3.1 user in the authority", with(":authority", "u@a.test")),
        ("8.3.1 user and password", with(":authority", "u:p@a.test")),
        ("R41 authority with a blank", with(":authority", "a.test b")),
        ("R41 authority with a line", with(":authority", "a.test\r\nx: y")),
        ("R41 authority with NUL", with(":authority", "a\0")),
        // 8.3.1: authority and host
        ("R49 another host", get + [("host", "b.test")]), ("R49 another port", get + [("host", "a.test:444")]),
        ("R49 the port of http", get + [("host", "a.test:80")]), ("R49 an empty host", get + [("host", "")]),
        ("R49 a longer host", get + [("host", "a.test.evil")]), ("R49 a list", get + [("host", "a.test, b.test")]),
        ("R49 a host that is none", get + [("host", "a.test/")]), ("R49 user in host", get + [("host", "u@a.test")]),
        ("R49 two hosts", get + [("host", "a.test"), ("host", "a.test")]),
        ("R49 two hosts alone", with(":authority", nil) + [("host", "a.test"), ("host", "a.test")]),
        ("R49 two dots", get + [("host", "a.test..")]),
        // 8.1.1: lengths
        ("8.1.1 length without a body", get + [("content-length", "1")]),
        ("8.1.1 length with a sign", get + [("content-length", "+0")]),
        ("8.1.1 length with a minus", get + [("content-length", "-0")]),
        ("8.1.1 length that is none", get + [("content-length", "a")]),
        ("8.1.1 empty length", get + [("content-length", "")]),
        ("8.1.1 length of 65 bits", get + [("content-length", "18446744073709551616")]),
        ("8.1.1 length in hexadecimal", get + [("content-length", "0x0")]),
        ("8.1.1 list of lengths", get + [("content-length", "0, 0")]),
        ("8.1.1 two lengths", get + [("content-length", "0"), ("content-length", "0")]),
        // 8.5: CONNECT
        ("8.5 scheme", [(":method", "CONNECT"), (":scheme", "https"), (":authority", "a.test:443")]),
        ("8.5 path", [(":method", "CONNECT"), (":path", "/"), (":authority", "a.test:443")]),
        ("8.5 scheme and path", with(":method", "CONNECT")), ("8.5 no authority", [(":method", "CONNECT")]),
        ("8441 protocol of GET", get + [(":protocol", "websocket")]),
        (
            "8441 without scheme",
            [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/"), (":authority", "a.test")]
        ),
        (
            "8441 without path",
            [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "a.test")]
        ),
        ("8441 without authority", with(":authority", nil, in: connect) + [("host", "a.test")]),
        ("8441 two protocols", connect + [(":protocol", "websocket")]),
        ("8441 protocol is no token", with(":protocol", "web socket", in: connect)),
    ]

    private static let options: Fields = [
        (":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), (":authority", "a.test"),
    ]
    private static let connect: Fields = [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"),
        (":authority", "a.test"),
    ]

    @Test(arguments: malformedHeads)
    func `a malformed request is a stream error and never seen`(name: String, fields: Fields) throws {
        #expect(try streamOutcome(Frames.request(1, fields)) == malformed, "\(name)")
    }

    @Test(arguments: HPACK.Form.allCases)
    func `a malformed request is one in every form of its literals`(form: HPACK.Form) throws {
        #expect(try streamOutcome(Frames.request(1, get + [("x", "a\nb")], encoding: form)) == malformed)
        #expect(try streamOutcome(Frames.request(1, get + [("X", "a")], encoding: form)) == malformed)
    }

    private static let goodHeads: [(String, Fields, String)] = [
        ("the least", get, "GET / HTTP/1.1|host: a.test||"),
        ("pseudo fields in any order", get.reversed(), "GET / HTTP/1.1|host: a.test||"),
        ("http", with(":scheme", "http"), "GET / HTTP/1.1|host: a.test||"),
        ("scheme in capitals", with(":scheme", "HTTPS"), "GET / HTTP/1.1|host: a.test||"),
        ("another method", with(":method", "PURGE"), "PURGE / HTTP/1.1|host: a.test||"),
        ("method in lower case", with(":method", "get"), "get / HTTP/1.1|host: a.test||"),
        ("path and query", with(":path", "/a?b=c&d"), "GET /a?b=c&d HTTP/1.1|host: a.test||"),
        ("escapes stay", with(":path", "/%0d%0a%20"), "GET /%0d%0a%20 HTTP/1.1|host: a.test||"),
        ("two slashes stay", with(":path", "//b.test/"), "GET //b.test/ HTTP/1.1|host: a.test||"),
        ("8.3.1 asterisk of OPTIONS", options, "OPTIONS * HTTP/1.1|host: a.test||"),
        (
            "8.3.1 host alone", with(":authority", nil) + [("a", "b"), ("host", "a.test")],
            "GET / HTTP/1.1|a: b|host: a.test||"
        ),
        ("R49 the same host", get + [("host", "a.test")], "GET / HTTP/1.1|host: a.test||"),
        ("R49 in capitals", get + [("host", "A.Test")], "GET / HTTP/1.1|host: a.test||"),
        ("R49 with its dot", get + [("host", "a.test.")], "GET / HTTP/1.1|host: a.test||"),
        ("R49 with the port that is meant", get + [("host", "a.test:443")], "GET / HTTP/1.1|host: a.test||"),
        (
            "R49 with the port of http", with(":scheme", "http") + [("host", "a.test:80")],
            "GET / HTTP/1.1|host: a.test||"
        ),
        ("a port", with(":authority", "a.test:8443"), "GET / HTTP/1.1|host: a.test:8443||"),
        ("IPv6", with(":authority", "[::1]:8443"), "GET / HTTP/1.1|host: [::1]:8443||"),
        (
            "fields in order", get + [("b", "1"), ("a", "2"), ("b", "3")],
            "GET / HTTP/1.1|host: a.test|b: 1|a: 2|b: 3||"
        ),
        ("an empty value", get + [("x", "")], "GET / HTTP/1.1|host: a.test|x: ||"),
        ("inner blanks and tabs", get + [("x", "a \t b")], "GET / HTTP/1.1|host: a.test|x: a \t b||"),
        ("high bytes", get + [("x", "\u{E9}\u{FF}\u{80}")], "GET / HTTP/1.1|host: a.test|x: \u{E9}\u{FF}\u{80}||"),
        (
            "every symbol of a token", get + [("!#$%&'*+-.^_`|~0az", "1")],
            "GET / HTTP/1.1|host: a.test|!#$%&'*+-.^_`|~0az: 1||"
        ),
        ("8.2.2 te", get + [("te", "trailers")], "GET / HTTP/1.1|host: a.test|te: trailers||"),
        ("8.2.2 te in capitals", get + [("te", "Trailers")], "GET / HTTP/1.1|host: a.test|te: Trailers||"),
        (
            "h2-cookie-split", get + [("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")],
            "GET / HTTP/1.1|host: a.test|cookie: a=b; c=d; e=f||"
        ),
        (
            "8.2.3 cookies apart", get + [("cookie", "a=b"), ("x", "1"), ("cookie", "c=d"), ("y", "2")],
            "GET / HTTP/1.1|host: a.test|cookie: a=b; c=d|x: 1|y: 2||"
        ),
        ("8.2.3 one cookie", get + [("cookie", "a=b; c=d")], "GET / HTTP/1.1|host: a.test|cookie: a=b; c=d||"),
        (
            "8.2.3 empty crumbs", get + [("cookie", ""), ("cookie", "a=b"), ("cookie", "")],
            "GET / HTTP/1.1|host: a.test|cookie: a=b||"
        ),
        ("8.1.1 no body declared", get + [("content-length", "0")], "GET / HTTP/1.1|host: a.test|content-length: 0||"),
        (
            "names that begin alike",
            get + [
                ("hos", "1"), ("hosts", "2"), ("cookies", "3"), ("connections", "4"),
                ("content-lengtH".lowercased() + "x", "5"),
            ], "GET / HTTP/1.1|host: a.test|hos: 1|hosts: 2|cookies: 3|connections: 4|content-lengthx: 5||"
        ),
    ]

    @Test(arguments: goodHeads)
    func `a request becomes an HTTP 1 head`(name: String, fields: Fields, head: String) throws {
        #expect(try streamOutcome(Frames.request(1, fields)) == ["whole 1 \(head)"], "\(name)")
    }

    @Test(arguments: HPACK.Form.allCases)
    func `a request is the same in every form of its literals`(form: HPACK.Form) throws {
        let fields = get + [("x", "1"), ("cookie", "a=b")]
        #expect(
            try streamOutcome(Frames.request(1, fields, encoding: form))
                == ["whole 1 GET / HTTP/1.1|host: a.test|x: 1|cookie: a=b||"])
    }

    private static let refusedHeads: [(String, Fields, String)] = [
        ("another scheme", with(":scheme", "ftp"), "refused 1 400"),
        ("8.5 CONNECT", [(":method", "CONNECT"), (":authority", "a.test:443")], "refused 1 501"),
        ("8441 another protocol", with(":protocol", "connect-udp", in: connect), "refused 1 501"),
        ("8441 ended at once", connect, "refused 1 400"),
        ("fragment", with(":path", "/a#b"), "answer 1 400"), ("backslash", with(":path", "/a\\b"), "answer 1 400"),
        ("high byte in the path", with(":path", "/\u{E9}"), "answer 1 400"),
        ("authority that is none", with(":authority", "a.test/x"), "answer 1 400"),
        ("port that is none", with(":authority", "a.test:99999"), "answer 1 400"),
        ("R49 authority that is none, twice", with(":authority", "a_b:c") + [("host", "a_b:c")], "answer 1 400"),
        ("authority of 300 bytes", with(":authority", String(repeating: "a", count: 300)), "answer 1 400"),
        ("two authorizations", get + [("authorization", "a"), ("authorization", "b")], "answer 1 400"),
        ("another expectation", get + [("expect", "200-ok")], "answer 1 417"),
    ]

    @Test(arguments: refusedHeads)
    func `a well-formed request against the policy is answered`(name: String, fields: Fields, line: String) throws {
        #expect(try streamOutcome(Frames.request(1, fields)) == [line], "\(name)")
    }

    @Test func `8441 an extended CONNECT is a WebSocket handshake`() throws {
        let fields =
            Self.connect + [("sec-websocket-version", "13"), ("sec-websocket-key", "x"), ("origin", "https://a.test")]
        #expect(
            try streamOutcome(
                Frames.request(1, fields, ends: false) + Frames.body(1, "abc") + Frames.body(1, "", ends: true)) == [
                    "tunnel 1 GET /chat HTTP/1.1|host: a.test|sec-websocket-version: 13|origin: https://a.test|"
                        + "connection: upgrade|upgrade: websocket||", "data 1 abc", "end 1",
                ])
        #expect(
            try streamOutcome(Frames.request(1, fields + [("content-length", "3")], ends: false)) == ["refused 1 400"])
        var settings = HTTP2Settings()
        settings.allowsExtendedConnect = false
        #expect(try streamOutcome(Frames.request(1, fields, ends: false), settings: settings) == malformed)
    }

    // MARK: Bodies

    private static let length5 = post + [("content-length", "5")]
    private static let chunkedHead = "head 1 POST / HTTP/1.1|host: a.test|transfer-encoding: chunked||"
    private static let length5Head = "head 1 POST / HTTP/1.1|host: a.test|content-length: 5||"

    private static let bodies: [(String, [UInt8], [String])] = [
        (
            "unknown length", Frames.request(1, post, ends: false) + Frames.body(1, "hello", ends: true),
            [chunkedHead, "data 1 hello", "end 1"]
        ),
        (
            "unknown length, in parts",
            Frames.request(1, post, ends: false) + Frames.body(1, "he") + Frames.body(1, "llo")
                + Frames.body(1, "", ends: true), [chunkedHead, "data 1 hello", "end 1"]
        ),
        ("no bytes", Frames.request(1, post, ends: false) + Frames.body(1, "", ends: true), [chunkedHead, "end 1"]),
        (
            "8.1.1 as declared", Frames.request(1, length5, ends: false) + Frames.body(1, "hello", ends: true),
            [length5Head, "data 1 hello", "end 1"]
        ),
        (
            "8.1.1 as declared, ended apart",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.body(1, "", ends: true),
            [length5Head, "data 1 hello", "end 1"]
        ),
        (
            "8.1.1 as declared, in parts",
            Frames.request(1, length5, ends: false) + Frames.body(1, "h") + Frames.body(1, "ello", ends: true),
            [length5Head, "data 1 hello", "end 1"]
        ),
        (
            "8.1.1 none declared",
            Frames.request(1, post + [("content-length", "0")], ends: false) + Frames.body(1, "", ends: true),
            ["head 1 POST / HTTP/1.1|host: a.test|content-length: 0||", "end 1"]
        ),
        (
            "6.1 padded",
            Frames.request(1, length5, ends: false)
                + Frames.frame(0, flags: 9, stream: 1, [3] + latin1("hello") + [0, 0, 0]),
            [length5Head, "data 1 hello", "end 1"]
        ),
        (
            "8.1 trailers",
            Frames.request(1, post, ends: false) + Frames.body(1, "hello")
                + Frames.request(1, [("x", "y"), ("z", "")]),
            [chunkedHead, "data 1 hello", "trailers 1 x: y|z: |", "end 1"]
        ),
        (
            "8.1 trailers without a body", Frames.request(1, post, ends: false) + Frames.request(1, [("x", "y")]),
            [chunkedHead, "trailers 1 x: y|", "end 1"]
        ),
        (
            "8.1 trailers behind a declared length",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, [("x", "y")]),
            [length5Head, "data 1 hello", "trailers 1 x: y|", "end 1"]
        ),
        ("8.1 empty trailers", Frames.request(1, post, ends: false) + Frames.request(1, []), [chunkedHead, "end 1"]),
    ]

    @Test(arguments: bodies)
    func `a body passes with its end`(name: String, frames: [UInt8], lines: [String]) throws {
        #expect(try streamOutcome(frames) == lines, "\(name)")
    }

    private static let malformedBodies: [(String, [UInt8])] = [
        ("h2-cl-short", Frames.request(1, length5, ends: false) + Frames.body(1, "hello!", ends: true)),
        (
            "8.1.1 more, later",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.body(1, "!", ends: true)
        ),
        ("8.1.1 less", Frames.request(1, length5, ends: false) + Frames.body(1, "hell", ends: true)),
        ("8.1.1 nothing", Frames.request(1, length5, ends: false) + Frames.body(1, "", ends: true)),
        (
            "8.1.1 some where none is declared",
            Frames.request(1, post + [("content-length", "0")], ends: false) + Frames.body(1, "a", ends: true)
        ),
        (
            "8.1.1 less, then trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hell") + Frames.request(1, [("x", "y")])
        ),
        (
            "8.1 trailers that do not end",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello")
                + Frames.request(1, [("x", "y")], ends: false)
        ),
        (
            "8.1 a pseudo field in trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, [(":path", "/")])
        ),
        (
            "8.1 a request as trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, get)
        ),
        (
            "R41 CRLF in trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, [("x", "a\r\nb: c")])
        ),
        (
            "8.2.1 capitals in trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, [("X", "a")])
        ),
        (
            "8.2.2 connection in trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello") + Frames.request(1, [("connection", "x")])
        ),
        (
            "8.2.2 transfer-encoding in trailers",
            Frames.request(1, length5, ends: false) + Frames.body(1, "hello")
                + Frames.request(1, [("transfer-encoding", "chunked")])
        ),
    ]

    /// How much of such a body has passed by then depends on how it came; its last byte never has.
    @Test(arguments: malformedBodies)
    func `a malformed body is a stream error and never whole`(name: String, frames: [UInt8]) throws {
        for cuts in [[], Array(0..<1000)] {
            let driver = try HTTP2Driver()
            driver.feed(Frames.hello + frames + Frames.request(9, get), cuts: cuts)
            #expect(driver.log.contains("reset 1 1"), "\(name)")
            #expect(driver.ends == ["RST 1 1"], "\(name)")
            #expect(driver.log.last == goodHead, "\(name)")
            for line in driver.log {
                #expect(!line.hasPrefix("data 1 hello") && line != "end 1" && !line.hasPrefix("trailers"), "\(name)")
            }
        }
    }

    // MARK: Caps

    @Test func `R44 a head beyond the caps is answered with 431 on its stream`() throws {
        var settings = HTTP2Settings()
        settings.headBytesMax = 100
        settings.fieldsMax = 3
        let bytes = get.reduce(0) { $0 + $1.0.count + $1.1.count }
        let fits = get + [("x", String(repeating: "a", count: 99 - bytes))]
        #expect(try streamOutcome(Frames.request(1, fits), settings: settings).first?.hasPrefix("whole 1") == true)
        let tooLong = get + [("x", String(repeating: "a", count: 100 - bytes))]
        #expect(try streamOutcome(Frames.request(1, tooLong), settings: settings) == ["refused 1 431"])
        settings.headBytesMax = 10_000
        let three = [("a", ""), ("b", ""), ("c", "")]
        #expect(
            try streamOutcome(Frames.request(1, get + three), settings: settings).first?.hasPrefix("whole 1") == true)
        #expect(
            try streamOutcome(Frames.request(1, get + three + [("d", ""), ("e", "")]), settings: settings)
                == ["refused 1 431"])
    }

    @Test func `R44 cookies are counted one by one`() throws {
        var settings = HTTP2Settings()
        settings.fieldsMax = 10
        let cookies = Array(repeating: ("cookie", "a=b"), count: 12)
        #expect(try streamOutcome(Frames.request(1, get + cookies), settings: settings) == ["refused 1 431"])
    }

    @Test func `R44 the written head is held to the limits of any head`() throws {
        let driver = try HTTP2Driver()
        driver.limits = HeadLimits(bytesMax: 60, fieldsMax: 2)
        driver.feed(
            Frames.hello + Frames.request(1, get + [("x", "1")])
                + Frames.request(3, get + [("x", String(repeating: "1", count: 40))]))
        driver.feed(Frames.request(5, get + [("x", ""), ("y", "")]))
        #expect(driver.log == ["whole 1 GET / HTTP/1.1|host: a.test|x: 1||", "answer 3 431", "answer 5 431"])
    }

    @Test func `the body of a request that is refused is thrown away and its window given back`() throws {
        let driver = try HTTP2Driver()
        let big = String(repeating: "a", count: 16_384)
        driver.feed(Frames.hello + Frames.request(1, Self.with(":scheme", "ftp"), ends: false))
        for _ in 0..<3 { driver.feed(Frames.body(1, big)) }
        #expect(driver.log == ["refused 1 400"])
        #expect(driver.frames.contains { $0.type == Frames.windowUpdate && $0.stream == 1 })
    }
}
