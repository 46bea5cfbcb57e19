import Testing

@testable import AuthGateway

@Suite struct ReturnTargetTests {
    @Test(arguments: [
        "//evil.test", "///evil.test", "/\\evil.test", "\\/evil.test", "https://evil.test/", "evil.test", "",
        "javascript:alert(1)", "/\tevil", "/a\r\nSet-Cookie: x", "/ /evil", "/a#b", "/\u{FC}", "/a\\b", "/\0", "?x",
        "@evil",
        "/" + String(repeating: "a", count: 2048),
    ])
    func `R60 what could lead to another host is no return target`(path: String) {
        #expect(ReturnTarget(path: path.bytes) == nil)
    }

    @Test(arguments: [
        ("/", "/"), ("/a/b?c=d&e=//f", "/a/b%3Fc%3Dd%26e%3D//f"), ("/%2F%2Fevil.test", "/%252F%252Fevil.test"),
        ("/a+b~c", "/a%2Bb~c"), ("/?rd=//evil.test", "/%3Frd%3D//evil.test"), ("/a:b@c", "/a%3Ab%40c"),
    ])
    func `a path on this host comes back as one parameter`(path: String, value: String) throws {
        let target = try #require(ReturnTarget(path: path.bytes))
        #expect(target.appended(to: "/auth/login") == "/auth/login?rd=\(value)")
        #expect(target.appended(to: "https://iam.test/l?x=1") == "https://iam.test/l?x=1&rd=\(value)")
    }

    @Test func `both sides of the longest path`() {
        #expect(ReturnTarget(path: ("/" + String(repeating: "a", count: 2047)).bytes) != nil)
        #expect(ReturnTarget(path: ("/" + String(repeating: "a", count: 2048)).bytes) == nil)
    }

    @Test func `a sign-in page on another host gets the origin too`() throws {
        let target = try #require(ReturnTarget(path: "/a?b".bytes, origin: "https://pay.test:8443"))
        #expect(target.text == "https://pay.test:8443/a?b")
        #expect(target.appended(to: "https://iam.test/l") == "https://iam.test/l?rd=https%3A//pay.test%3A8443/a%3Fb")
        for origin in ["javascript:", "//pay.test", "/x", "pay.test", ""] {
            #expect(ReturnTarget(path: "/a".bytes, origin: origin) == nil)
        }
    }
}
