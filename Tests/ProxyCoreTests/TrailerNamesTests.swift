import HTTPModel
import Testing

@testable import ProxyCore

struct TrailerNamesTests {
    private func passed(_ names: [String], _ section: String) -> String {
        let trailers = TrailerNames(request: names, response: [])
        let bytes = Array(section.utf8)
        var buffer = ByteBuffer()
        trailers.appendRequest(bytes.span, to: &buffer)
        return (0..<buffer.count).map { String(UnicodeScalar(buffer.bytes[$0])) }.joined()
    }

    @Test func `passes lines whose names are listed, and those alone`() {
        let section = "A: 1\r\nServer-Timing: db\r\nServer-Timing2: x\r\nServer-Timin: y\r\nSERVER-timing:z\r\n\r\n"
        #expect(passed(["server-timing"], section) == "Server-Timing: db\r\nSERVER-timing:z\r\n")
        #expect(passed(["Server-Timing", "a"], "A: 1\r\n\r\n") == "A: 1\r\n")
        #expect(passed([], section).isEmpty)
        #expect(passed(["a"], "\r\n").isEmpty)
        #expect(passed(["a"], "").isEmpty)
    }

    @Test func `a name in another spelling is another name`() {
        let section = "server_timing: 1\r\nserver.timing: 2\r\n\r\n"
        #expect(passed(["server-timing"], section).isEmpty)
    }

    @Test func `what is no token is no name`() {
        #expect(passed(["", "a b", "a:", "a\r\n", "ä"], "a b: 1\r\n: 2\r\n\r\n").isEmpty)
    }

    @Test func `requests and answers have lists of their own`() {
        let trailers = TrailerNames(request: ["a"], response: ["b"])
        let section = Array("A: 1\r\nB: 2\r\n\r\n".utf8)
        var buffer = ByteBuffer()
        trailers.appendResponse(section.span, to: &buffer)
        #expect((0..<buffer.count).map { buffer.bytes[$0] } == Array("B: 2\r\n".utf8))
    }
}
