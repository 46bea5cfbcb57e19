import Testing

@testable import AuthGateway

@Suite struct NavigationTests {
    private static let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

    private func navigates(
        _ mode: String?, _ accept: String?, _ method: String = "GET", requestedWith: Bool = false,
        authorization: Bool = false
    ) -> Bool {
        isNavigation(
            secFetchMode: mode?.bytes, accept: accept?.bytes, method: method.bytes, hasRequestedWith: requestedWith,
            hasAuthorization: authorization)
    }

    @Test func `Sec-Fetch-Mode alone decides where it is`() {
        #expect(navigates("navigate", nil))
        #expect(navigates("navigate", nil, "POST", requestedWith: true, authorization: true))
        for mode in ["cors", "no-cors", "same-origin", "websocket", "", "Navigate", "navigate,cors", " navigate"] {
            #expect(!navigates(mode, Self.browser))
        }
    }

    @Test func `without it a plain GET that accepts a page is one`() {
        #expect(navigates(nil, Self.browser))
        #expect(!navigates(nil, Self.browser, "POST"))
        #expect(!navigates(nil, Self.browser, "HEAD"))
        #expect(!navigates(nil, Self.browser, requestedWith: true))
        #expect(!navigates(nil, Self.browser, authorization: true))
        #expect(!navigates(nil, nil))
    }

    @Test(arguments: [
        ("text/html", true), ("TEXT/HTML", true), ("application/json, text/html;q=0.1", true),
        ("text/html ; level=1", true),
        ("text/html;q=0.001", true), ("text/html;q=1", true), ("*/*", false), ("text/*", false),
        ("application/json", false),
        ("text/html;q=0", false), ("text/html; q=0.000", false), ("text/html;q=0.0, */*", false), ("text/htmlx", false),
        ("x-text/html", false), ("", false), (",", false), ("text/plain;a=text/html", false),
    ])
    func `Accept must name the page itself`(accept: String, expected: Bool) {
        #expect(navigates(nil, accept) == expected)
    }
}

@Suite struct RateLimitPolicyTests {
    private func state(_ remaining: Int, _ reset: Duration) -> String {
        var output = "x, ".bytes
        RateLimitPolicy(name: "per-user", count: 50, window: .seconds(3600))
            .appendState(remaining: remaining, reset: reset, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func `policy and state are items of structured lists`() {
        let policy = RateLimitPolicy(name: "per-user", count: 50, window: .seconds(3600))
        #expect(policy.policyItem == #""per-user";q=50;w=3600"#.bytes)
        #expect(state(12, .milliseconds(1500)) == #"x, "per-user";r=12;t=2"#)
        #expect(state(0, .zero) == #"x, "per-user";r=0;t=0"#)
        #expect(state(-1, .seconds(-1)) == #"x, "per-user";r=0;t=0"#)
        #expect(state(1_234_567_890, .seconds(100)) == #"x, "per-user";r=1234567890;t=100"#)
    }

    @Test func `a window shorter than a second counts as one and a name cannot break out`() {
        let policy = RateLimitPolicy(name: "a\"b\\\r\n\u{FC}", count: 5, window: .milliseconds(10))
        #expect(policy.policyItem == #""a\"b\\???";q=5;w=1"#.bytes)
    }
}
