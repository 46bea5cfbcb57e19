import GatewayConfig
import ProxyCore
import Testing

@testable import AuthGateway

struct TrustedProxiesTests {
    /// 10.0.0.0/8 and 2001:db8::/32.
    private func trusted() throws -> TrustedProxies {
        let text = """
            trusted_proxies: [10.0.0.0/8, "2001:db8::/32"]
            listeners: [{ address: 127.0.0.1:8080 }]
            upstreams: { app: { endpoints: [127.0.0.1:5001] } }
            routes: [{ path: /, upstream: app, public: true }]
            """
        let result = ConfigurationLoader.load(text: text)
        return TrustedProxies(try #require(result.configuration, "\(result.problems)").trustedProxies)
    }

    @Test(arguments: [
        ([], "10.0.0.1"), ([""], "10.0.0.1"), (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.0.0.2"], "192.0.2.7"), (["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (["1.1.1.1", "192.0.2.7"], "192.0.2.7"), (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["192.0.2.7:1234"], "192.0.2.7"), (["[2001:db9::1]:80"], "2001:db9::1"), (["[2001:db9::1]"], "2001:db9::1"),
        (["::ffff:192.0.2.7"], "192.0.2.7"), (["::ffff:10.0.0.9"], "10.0.0.9"),
        (["192.0.2.7, 2001:db8::1"], "192.0.2.7"),
        // What is no address ends the walk at the peer before it.
        (["192.0.2.7, nonsense"], "10.0.0.1"), (["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.7,"], "10.0.0.1"), (["192.0.2.7:x"], "10.0.0.1"), (["192.0.2.7:"], "10.0.0.1"),
        (["[2001:db9::1]x"], "10.0.0.1"), (["[2001:db9::1"], "10.0.0.1"), (["192.0.2.7\0"], "10.0.0.1"),
        (["0192.0.2.7"], "10.0.0.1"), (["3232235777"], "10.0.0.1"),
    ])
    func `the client is the last of the chain that is no trusted peer (R27)`(chain: [String], client: String) throws {
        let peer = try #require(IPAddress("10.0.0.1"))
        #expect(try trusted().client(in: chain, peer: peer).description == client)
    }

    @Test func `a chain that names trusted peers without end is walked within a bound`() throws {
        let peer = try #require(IPAddress("10.0.0.1"))
        let chain = ["192.0.2.7"] + (0..<40).map { "10.0.1.\($0)" }
        #expect(try trusted().client(in: chain, peer: peer).description == "10.0.1.8")
    }

    @Test(arguments: [("10.255.0.1", true), ("11.0.0.1", false), ("2001:db8:ffff::1", true), ("2001:db9::", false)])
    func `blocks contain their addresses and no others`(address: String, isTrusted: Bool) throws {
        #expect(try trusted().contain(peer: try #require(IPAddress(address))) == isTrusted)
    }
}
