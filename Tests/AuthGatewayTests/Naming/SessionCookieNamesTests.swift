import Testing

@testable import AuthGateway

@Suite struct SessionCookieNamesTests {
    @Test(arguments: ["__Host-gateway_session", "__Secure-gateway_session", "gateway_session"])
    func `all three spellings of the configured name are ours`(configured: String) {
        let names = SessionCookieNames(configured: configured)
        #expect(names.configured == configured.bytes)
        for name in ["__Host-gateway_session", "__Secure-gateway_session", "gateway_session"] {
            let found = names.contains(name.bytes.span)
            #expect(found)
        }
        for name in ["session", "Gateway_session", "gateway_session2", "gateway_sessio", "__host-gateway_session", ""] {
            let found = names.contains(name.bytes.span)
            #expect(!found, "\(name)")
        }
    }

    @Test func `the other cookies of ours are ours in each spelling, and never a session`() {
        let names = SessionCookieNames(configured: "s", others: ["gateway_login"])
        #expect(names.configured == "s".bytes)
        for name in ["s", "__Host-s", "gateway_login", "__Host-gateway_login", "__Secure-gateway_login"] {
            let found = names.contains(name.bytes.span)
            #expect(found, "\(name)")
        }
        let found = names.contains("gateway_logout".bytes.span)
        #expect(!found)
    }
}
