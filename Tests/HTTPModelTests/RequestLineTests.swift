import HTTPModel
import Testing

/// RFC 9112 sections 2.2, 2.3 and 3: the request line.
struct RequestLineTests {
    @Test func `reads the example of RFC 9112`() throws {
        let input = bytes(
            "GET /hello.txt?x=1?2 HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\n"
                + "Accept-Language: \t en, mi \t\r\n\r\nbody")
        let head = try parseRequest(input)
        #expect(head.progress == .complete(byteCount: input.count - 4))
        #expect(head.method == .get)
        #expect(head.methodText == "GET")
        #expect(head.target == "/hello.txt?x=1?2")
        #expect(head.form == .origin)
        #expect(head.path == "/hello.txt")
        #expect(head.query == "x=1?2")
        #expect(head.authority == "www.example.com")
        #expect(head.minorVersion == 1)
        #expect(head.framing == .none)
        #expect(head.keepsAlive)
        #expect(!head.expectsContinue)
        #expect(head.upgrade == nil)
        #expect(head["accept-language"] == "en, mi")
        #expect(head.lines.map(\.known) == [.userAgent, .host, .other])
    }

    @Test(arguments: [
        ("GET", Method.get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("DELETE", .delete),
        ("OPTIONS", .options), ("TRACE", .trace), ("PATCH", .patch), ("get", .other), ("PROPFIND", .other),
        ("GEt", .other), ("PURGE", .other), ("X", .other), ("!#$%&'*+-.^_`|~", .other), ("PUTS", .other),
    ])
    func `tells methods apart by their exact bytes`(name: String, method: HTTPModel.Method) throws {
        let head = try parseRequest(bytes("\(name) / HTTP/1.1\r\nHost: a\r\n\r\n"))
        #expect(head.method == method)
        #expect(head.methodText == name)
    }

    @Test(arguments: [
        ("http://a.example:81/p?q", "a.example:81", "/p", "q"), ("HTTPS://a.example", "a.example", "", ""),
        ("http://a.example?q", "a.example", "", "q"), ("https://[::1]:8443/", "[::1]:8443", "/", ""),
    ])
    func `R49 the authority of an absolute target replaces Host`(
        target: String, authority: String, path: String, query: String
    ) throws {
        let head = try parseRequest(bytes("GET \(target) HTTP/1.1\r\nHost: other.example\r\n\r\n"))
        #expect(head.form == .absolute)
        #expect(head.authority == authority)
        #expect(head.path == path)
        #expect(head.query == query)
    }

    @Test func `reads the authority and asterisk forms only with their methods`() throws {
        let connect = try parseRequest(bytes("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n"))
        #expect(connect.form == .authority)
        #expect(connect.authority == "a.example:443")
        #expect(connect.path.isEmpty)
        let options = try parseRequest(bytes("OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"))
        #expect(options.form == .asterisk)
        #expect(options.path == "*")
        #expect(options.authority == "b")
        for line in [
            "CONNECT / ", "CONNECT a ", "CONNECT a: ", "CONNECT http://a/ ", "GET * ", "GET a:443 ", "OPTIONS ** ",
        ] {
            #expect(try refusal(bytes("\(line)HTTP/1.1\r\nHost: b\r\n\r\n")) == .invalidTarget, "\(line)")
        }
    }

    @Test(arguments: [
        "ftp://a/", "http:/a/", "http:a", "a", "a/b", "mailto:x", "file:///etc", ".", "?q", "http:", "https:/",
    ])
    func `refuses a target of no known form`(target: String) throws {
        #expect(try refusal(bytes("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")) == .invalidTarget)
    }

    @Test(arguments: ["http:///p", "http://u@a/", "http://u:p@a/", "http://a:b/", "http://?q", "http://a:65536/"])
    func `refuses an absolute target without a sound authority`(target: String) throws {
        #expect(try refusal(bytes("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n")) == .invalidHost)
    }

    @Test func `R02 R08 refuses target bytes that servers read in two ways`() throws {
        for byte in UInt8.min...UInt8.max {
            let input = bytes("GET /a") + [byte] + bytes("b HTTP/1.1\r\nHost: a\r\n\r\n")
            let error = try refusal(input)
            switch byte {
            case 0x0A: #expect(error == .syntax(.bareLineFeed))
            case 0x0D: #expect(error == .missingVersion)
            case 0x20: #expect(error == .invalidVersion)
            case 0x23, 0x5C, ..<0x20, 0x7F...: #expect(error == .invalidTarget, "\(byte)")
            default: #expect(error == nil, "\(byte)")
            }
        }
    }

    @Test(arguments: [
        ("GET /\r\n", RequestHeadError.missingVersion), ("GET / \r\n", .missingVersion), ("GET\r\n", .invalidMethod),
        ("GET \r\n", .invalidTarget), (" GET / HTTP/1.1\r\n", .invalidMethod), ("GET  / HTTP/1.1\r\n", .invalidTarget),
        ("GET /  HTTP/1.1\r\n", .invalidVersion), ("GET\t/ HTTP/1.1\r\n", .invalidMethod),
        ("GET /\tHTTP/1.1\r\n", .invalidTarget), ("GET / HTTP/1.1 \r\n", .invalidVersion),
        ("GET / HTTP/1.1\t\r\n", .invalidVersion), ("GET / http/1.1\r\n", .invalidVersion),
        ("GET / HTTP/1\r\n", .invalidVersion), ("GET / HTTP/11\r\n", .invalidVersion),
        ("GET / HTTP/1.10\r\n", .invalidVersion), ("GET / HTTP/01.1\r\n", .invalidVersion),
        ("GET / HTTP/2\r\n", .invalidVersion), ("GET / HTTP/2.\r\n", .invalidVersion),
        ("GET / HTTP/3.11\r\n", .invalidVersion), ("GET / HTTP/2.0 \r\n", .invalidVersion),
        ("GET / HTTP/2.0\r\n", .unsupportedVersion), ("GET / HTTP/0.9\r\n", .unsupportedVersion),
        ("PRI * HTTP/2.0\r\n", .invalidTarget), ("GET / HTTP/1.x\r\n", .invalidVersion),
        ("GET / HTTP/1.1\n", .syntax(.bareLineFeed)), ("GET / HTTP/1.1\rX", .syntax(.bareCarriageReturn)),
        ("GET / HTTP\n", .syntax(.bareLineFeed)), ("GET /\n", .syntax(.bareLineFeed)),
        ("GET\n", .syntax(.bareLineFeed)),
        ("\n", .syntax(.bareLineFeed)), ("\rG", .syntax(.bareCarriageReturn)), ("\r\n\r\n", .emptyLines),
        ("\r\n\n", .syntax(.bareLineFeed)), ("G\0T / HTTP/1.1\r\n", .invalidMethod),
        ("G(T / HTTP/1.1\r\n", .invalidMethod),
        ("\u{16}\u{3}\u{1}", .invalidMethod),
    ])
    func `refuses a request line at the byte that breaks it`(line: String, error: RequestHeadError) throws {
        #expect(try refusal(bytes(line)) == error)
    }

    @Test func `forgives one empty line before the request line`() throws {
        let input = bytes("\r\n") + request()
        let head = try parseRequest(input)
        #expect(head.progress == .complete(byteCount: input.count))
        #expect(head.methodText == "GET")
        #expect(try refusal(bytes("\r\n\r\n") + request()) == .emptyLines)
    }

    @Test(arguments: [("1.0", UInt8(0)), ("1.1", 1), ("1.2", 1), ("1.9", 1)])
    func `takes later minor versions for 1 point 1`(version: String, minor: UInt8) throws {
        let head = try parseRequest(request(version: version))
        #expect(head.progress == .complete(byteCount: request().count))
        #expect(head.minorVersion == minor)
    }

    @Test func `every error has a status of its kind`() {
        let others: [(RequestHeadError, Int)] = [
            (.targetTooLong, 414), (.headTooLong, 431), (.tooManyFields, 431), (.unsupportedExpectation, 417),
            (.unsupportedTransferCoding, 501), (.unsupportedVersion, 505), (.syntax(.bareLineFeed), 400),
            (.bothLengthAndTransferEncoding, 400), (.missingHost, 400), (.invalidTarget, 400),
        ]
        for (error, status) in others { #expect(error.status == status) }
    }
}
