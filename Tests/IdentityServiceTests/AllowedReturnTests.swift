import Testing

@testable import IdentityService

/// R60: the payloads that opened other gateways.
@Suite struct AllowedReturnTests {
    private let allowed = AllowedReturn(
        origins: ["https://portal.example.com", "http://localhost:5000", "https://tickets.example.org:8443"],
        cookieDomain: "corp.example")

    @Test(arguments: [
        "/", "/app", "/app/", "/app?x=1&y=//evil.com", "/a/b.html?next=https://evil.com", "/a;b=1", "/a%20b",
        "/%E2%82%AC",
        "/a?x=%5C%2F", "/@evil.com", "/.evil.com", "/a:b", "https://portal.example.com", "https://portal.example.com/",
        "https://portal.example.com/x?y=1", "http://localhost:5000/x", "https://tickets.example.org:8443/t",
        "https://corp.example/", "https://a.corp.example/x", "https://a.b.corp.example:8443/x",
        "https://a.corp.example/?x=1",
    ])
    func `R60: keeps a path on this host and a URL on an allowed one`(target: String) {
        #expect(allowed.target(target).location == target)
    }

    @Test(arguments: [
        // Another host, however a browser comes to read it as one.
        "", "//evil.com", "///evil.com", "////evil.com", "/\\evil.com", "\\/evil.com", "\\\\evil.com", "/\\/evil.com",
        "/\t/evil.com", "\t//evil.com", "/\n/evil.com", "/\r/evil.com", "/\u{B}/evil.com", "/ /evil.com", " //evil.com",
        "/\u{A0}/evil.com", "/\u{3000}/evil.com", "/%09/evil.com", "/%5cevil.com", "/%5C/evil.com", "/%2f/evil.com",
        "/%2Fevil.com", "/%2f%2fevil.com", "/%252f/evil.com", "/%255cevil.com", "/%25252f/evil.com", "/%0d%0aX:1",
        "/%0a/evil.com", "/%00/evil.com", "/%E3%80%82%2F%2Fevil.com", "/.//evil.com", "/..//evil.com",
        "/%2e%2e//evil.com",
        "/./evil", "/../evil", "/a/..//evil.com", "/a/%2e%2e/%2e%2e//evil.com", "/a//b", "//evil.com/%2e%2e",
        "//evil.com/..;/", "//google.com/%2f..", "///www.evil.com/%2e%2e%2f", "/%3B//evil.com",
        "evil.com", "www.evil.com", "./evil", "../x", "?x=1", "#//evil.com", "/#//evil.com",
        // Schemes.
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,x", "vbscript:x",
        "ftp://portal.example.com/", "file:///etc/passwd", "https:evil.com", "https:/evil.com", "https:///evil.com",
        "http:evil.com", "https:\\\\evil.com", "HTTPS://portal.example.com/", "//portal.example.com/x",
        "blob:https://a",
        "https://", "https:///", "http://", "mailto:a@b", "%68ttps://evil.com", "/%68ttps:%2f%2fevil.com",
        // Hosts that only look allowed.
        "https://evil.com", "https://portal.example.com.evil.com/", "https://portal.example.comevil.com/",
        "https://evilportal.example.com/", "https://portal.example.com@evil.com/",
        "https://portal.example.com:pw@evil.com/",
        "https://portal.example.com:@evil.com/", "https://portal.example.com%00.evil.com/",
        "https://portal.example.com%2eevil.com/", "https://portal.example.com\\@evil.com/",
        "https://evil.com\\.corp.example/",
        "https://evil.com#.corp.example/", "https://evil.com?.corp.example/", "https://evil.com;.corp.example/",
        "https://evil.com%23.corp.example/", "https://evil.com%5c.corp.example/", "https://evilcorp.example/",
        "https://corp.example.evil.com/", "https://.corp.example/", "https://a..corp.example/",
        "https://corp.example./",
        "https://-.corp.example/", "https://PORTAL.example.com/", "https://portal.example.com:444/",
        "https://portal.example.com:/", "https://portal.example.com:0443/", "https://portal.example.com:443x/",
        "https://a.corp.example:99999/", "https://a.corp.example:0/", "https://[::1]/",
        "https://xn--.corp.example:8443:1/",
        "http://portal.example.com/", "http://a.corp.example/", "https://localhost:5000/", "http://localhost:5001/",
        "http://localhost/", "https://a.corp.example//evil.com", "https://a.corp.example/%2f/evil.com",
        "https://a.corp.example?next", "https://portal.example.com/\\evil.com", "https://a_b.corp.example/",
        "https://\u{435}vil.corp.example/", "/\u{7F}", "/%", "/%g0", "/%2",
    ])
    func `R60: everything else leads to the start page`(target: String) {
        #expect(allowed.target(target) == .home)
    }

    @Test func `R60: no generated mix of separators and encodings leaves the host`() {
        let parts = [
            "/", "\\", "%2f", "%2F", "%5c", "%252f", ".", "%2e", "..", "\t", "%09", ";", "@", "?", "#", "%00", "a",
        ]
        var kept = 0
        for first in parts {
            for second in parts {
                for third in parts {
                    let text = "/" + first + second + third + "evil.com"
                    let location = allowed.target(text).location
                    guard location == text else {
                        #expect(location == "/")
                        continue
                    }
                    kept += 1
                    #expect(!Self.leavesTheHost(text), "\(text)")
                }
            }
        }
        #expect(kept > 100)
    }

    /// Slow and suspicious: what any of a browser, a proxy or a framework might make of it.
    private static func leavesTheHost(_ text: String) -> Bool {
        var path = text.prefix { $0 != "?" }.lowercased()
        for _ in 0..<5 {
            for (code, byte) in [("%2f", "/"), ("%5c", "/"), ("%2e", "."), ("%09", ""), ("%00", ""), ("%25", "%")] {
                path = path.replacing(code, with: byte)
            }
            path = path.replacing("\\", with: "/").replacing("\t", with: "")
        }
        var segments: [Substring] = []
        for segment in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            if segment == ".." { _ = segments.popLast() } else if segment != "." { segments.append(segment) }
        }
        return ("/" + segments.joined(separator: "/")).hasPrefix("//")
    }

    @Test func `a place of 2,048 bytes is kept, one more is not`() {
        let longest = "/" + String(repeating: "a", count: AllowedReturn.bytesMax - 1)
        #expect(allowed.target(longest).location == longest)
        #expect(allowed.target(longest + "a") == .home)
        #expect(allowed.target(nil) == .home)
    }

    @Test func `without a domain and origins no other host is allowed`() {
        #expect(AllowedReturn().target("https://portal.example.com/") == .home)
        #expect(AllowedReturn().target("/x").location == "/x")
    }
}
