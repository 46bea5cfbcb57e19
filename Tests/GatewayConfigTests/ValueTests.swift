import IdentityModel
import Testing

@testable import GatewayConfig

@Suite struct ValueTests {
    private func accepts<Value>(_ type: SettingType<Value>, _ text: String) -> Bool { (try? type.read(text)) != nil }

    /// What the type shows of what it read; `nil` where it refuses.
    private func shown<Value>(_ type: SettingType<Value>, _ text: String) -> String? {
        (try? type.read(text)).map(type.show)
    }

    @Test(arguments: [
        ("500ms", Duration.milliseconds(500)), ("10s", .seconds(10)), ("5m", .seconds(300)), ("8h", .seconds(28800)),
        ("1d", .seconds(86400)), ("0s", .zero), ("90m", .seconds(5400)),
    ])
    func `reads durations`(text: String, expected: Duration) {
        #expect(Units.duration(text) == expected)
    }

    @Test(arguments: [
        "", "10", "s", "1.5s", "-1s", "+1s", "1 s", "1S", "1:30", "01s", "1_0s", "1e3s", "1w", "1s ", " 1s",
        "99999999999999999999s", "106751991167301d",
    ])
    func `refuses other durations`(text: String) {
        #expect(Units.duration(text) == nil)
    }

    @Test func `every duration is shown as text that reads as the same`() {
        for milliseconds in [0, 1, 999, 1000, 1001, 59_999, 60_000, 90_000, 3_600_000, 86_400_000, 172_800_000] {
            let duration = Duration.milliseconds(milliseconds)
            #expect(Units.duration(Units.duration(duration)) == duration)
        }
    }

    @Test(arguments: [
        ("16KiB", 16384), ("64KB", 64000), ("1MiB", 1 << 20), ("1 MB", 1_000_000), ("2GiB", 2 << 30), ("512", 512),
        ("512B", 512), ("0", 0),
    ])
    func `reads sizes`(text: String, expected: Int) {
        #expect(Units.bytes(text) == expected)
    }

    @Test(arguments: ["", "KiB", "16K", "16kib", "1.5MiB", "016", "0x10", "-1", "1  KB", "9999999999999GiB", "1 "])
    func `refuses other sizes`(text: String) {
        #expect(Units.bytes(text) == nil)
    }

    @Test(arguments: [
        ("5/minute", 5, Rate.Unit.minute), ("5 per minute", 5, .minute), ("200 per day", 200, .day),
        ("50/hour", 50, .hour), ("1/second", 1, .second),
    ])
    func `reads rates`(text: String, count: Int, unit: Rate.Unit) {
        #expect(Units.rate(text) == Rate(count: count, unit: unit))
    }

    @Test(arguments: [
        "", "5", "/minute", "5/", "5/minutes", "5/5m", "10/5m", "5 / minute", "5  per minute", "5 per  minute",
        "5/Minute",
        "-5/minute", "05/minute", "5 each minute", "5/minute/hour",
    ])
    func `refuses other rates`(text: String) {
        #expect(Units.rate(text) == nil)
    }

    @Test func `a rate of none or too many is out of range`() {
        #expect(!accepts(.rate, "0/minute") && accepts(.rate, "1/minute"))
        #expect(accepts(.rate, "1000000/day") && !accepts(.rate, "1000001/day"))
    }

    @Test(arguments: ["yes", "no", "on", "off", "True", "TRUE", "y", "1", "0", "", "~"])
    func `refuses words that YAML 1.1 takes for booleans`(text: String) {
        #expect(throws: Refusal.self) { try SettingType<Bool>.boolean.read(text) }
    }

    @Test(arguments: ["010", "0o10", "0x1F", "1:30", "1_000", "1.0", "1e3", "+1", "-1", "", " 1", "٣"])
    func `refuses numbers that YAML 1.1 reads in its own way`(text: String) {
        #expect(!accepts(.integer(0...100_000), text))
    }

    @Test func `an integer is in its range at both ends`() {
        let type = SettingType<Int>.integer(8...1000)
        #expect(["7", "8", "1000", "1001"].map { accepts(type, $0) } == [false, true, true, false])
    }

    @Test(arguments: [
        ("0.0.0.0:8443", "0.0.0.0:8443"), ("[::]:8443", "[::]:8443"), ("127.0.0.1:0", "127.0.0.1:0"),
        ("[FE80::1]:1", "[fe80::1]:1"), (":8443", nil), ("*:8443", nil), ("localhost:1", nil), ("::1:80", nil),
        ("[::1]", nil), ("0.0.0.0", nil), ("1.2.3.4:65536", nil), ("1.2.3.4:65535", "1.2.3.4:65535"),
        ("1.2.3.4:080", nil), ("unix:/run/x", "unix:/run/x"), ("unix:x", nil), ("[1.2.3.4]:80", nil),
        ("256.0.0.1:80", nil), ("1.2.3:80", nil),
    ])
    func `reads addresses to listen on`(text: String, expected: String?) {
        #expect(shown(.listenAddress, text) == expected)
    }

    @Test(arguments: [
        ("127.0.0.1:5001", "127.0.0.1:5001"), ("App.Internal:80", "app.internal:80"), ("[::1]:5001", "[::1]:5001"),
        ("my_app-1:80", "my_app-1:80"), ("unix:/run/app.sock", "unix:/run/app.sock"), ("unix:run/app.sock", nil),
        ("https://app:443", nil), ("http://app:80", nil), ("app", nil), ("app:0", nil), ("app:", nil), ("-a:80", nil),
        ("a..b:80", nil), ("a b:80", nil), ("127.0.0.1.5:80", nil), ("user@app:80", nil), ("app:80/path", nil),
        ("é.example:80", nil),
    ])
    func `reads endpoints`(text: String, expected: String?) {
        #expect(shown(.endpoint, text) == expected)
    }

    @Test func `an https endpoint is refused because TLS to upstreams is not built`() {
        let refusal = #expect(throws: Refusal.self) { try SettingType<SocketAddress>.endpoint.read("https://app:443") }
        #expect(refusal?.message.contains("not built yet") == true)
    }

    @Test func `a Unix socket's path has at most 107 bytes`() {
        #expect(accepts(.endpoint, "unix:/" + String(repeating: "a", count: 106)))
        #expect(!accepts(.endpoint, "unix:/" + String(repeating: "a", count: 107)))
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("0.0.0.0/0", "0.0.0.0/0"),
        ("fd00::/8", "fd00:0:0:0:0:0:0:0/8"),
        ("::1", "0:0:0:0:0:0:0:1/128"), ("10.0.0.1/8", nil), ("10.0.0.0/33", nil), ("fd00::/129", nil),
        ("10.0.0.0/", nil),
        ("10.0.0.0/08", nil), ("example.com", nil), ("10.0.0/8", nil), ("192.168.1.128/25", "192.168.1.128/25"),
        ("192.168.1.64/25", nil),
    ])
    func `reads networks`(text: String, expected: String?) {
        #expect(shown(.addressBlock, text) == expected)
    }

    @Test func `a network of IPv4 is kept as IPv4 in IPv6`() throws {
        let block = try SettingType<GatewayConfiguration.AddressBlock>.addressBlock.read("10.0.0.0/8")
        #expect(block.prefixLength == 104)
        #expect(block.address == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 0])
    }

    @Test func `a network with bits beyond its prefix names the network that was meant`() {
        let refusal = #expect(throws: Refusal.self) {
            try SettingType<GatewayConfiguration.AddressBlock>.addressBlock.read("10.20.30.40/12")
        }
        #expect(refusal?.cure == "write '10.16.0.0/12'")
    }

    @Test(arguments: [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"), ("redis://redis:6379", "redis://redis:6379/0"),
        ("redis://h:1/15", "redis://h:1/15"), ("redis://:p%40ss@h/", "redis://:***@h:6379/0"),
        ("redis://me:a:b@[::1]:7/2", "redis://me:***@[::1]:7/2"), ("redis://[::1]", "redis://[::1]:6379/0"),
        ("rediss://h", nil), ("http://h", nil), ("redis://", nil), ("redis://h/x", nil), ("redis://h/01", nil),
        ("redis://me@h", nil), ("redis://me:@h", nil), ("redis://me:%0d@h", nil), ("redis://me:%zz@h", nil),
        ("redis://h:0", nil), ("redis://h/0?x=1", nil),
    ])
    func `reads Redis URLs and hides their password`(text: String, expected: String?) {
        #expect(shown(.redisURL, text) == expected)
    }

    @Test func `the password of a Redis URL is decoded`() throws {
        #expect(try SettingType<RedisURL>.redisURL.read("redis://u:p%40s%3As@h").password?.reveal() == "p@s:s")
    }

    @Test(arguments: [
        "redis://me:hunter2@h:99999", "rediss://me:hunter2@h", "redis://hunter2@h", "redis://me:hunter2%zz@h",
        "redis://me:hunter2@h/x",
    ])
    func `no refusal of a Redis URL quotes it`(text: String) {
        let refusal = #expect(throws: Refusal.self) { try SettingType<RedisURL>.redisURL.read(text) }
        #expect(refusal.map { $0.message + ($0.cure ?? "") }?.contains("hunter2") == false)
    }

    @Test(arguments: [
        ("app.example.com", "app.example.com"), ("APP.Example.com.", "app.example.com"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"), ("[::1]", "[::1]"), ("*", nil), ("*.*.com", nil), ("a.*.com", nil),
        ("app.example.com:80", nil),
        ("http://app", nil), ("", nil), (".", nil), ("bücher.example", nil), ("a/b", nil), ("*.10.0.0.1", nil),
        ("a..b", nil),
    ])
    func `reads hosts of routes`(text: String, expected: String?) {
        #expect(shown(.hostPattern, text) == expected)
    }

    @Test(arguments: [
        ("/", true), ("/a", true), ("/a/", true), ("/a/*/b", true), ("/a/**", true), ("/**", true), ("/*", true),
        ("/a%20b", true), ("/a.b/..c", true), ("", false), ("a", false), ("/a/**/b", false), ("/a*", false),
        ("/a/b*/c", false), ("/a//b", false), ("//a", false), ("/a/../b", false), ("/./a", false), ("/a?x=1", false),
        ("/a#b", false), ("/a\\b", false), ("/a b", false), ("/ä", false), ("/a%2", false), ("/a%zz", false),
        ("/***", false), ("/.gateway", false), ("/.gateway/login", false), ("/.gatewayx", true),
    ])
    func `reads paths of routes`(text: String, isPattern: Bool) {
        #expect(accepts(.pathPattern, text) == isPattern)
    }

    @Test func `a path has at most 64 segments`() {
        #expect(accepts(.pathPattern, String(repeating: "/a", count: 64)))
        #expect(!accepts(.pathPattern, String(repeating: "/a", count: 65)))
    }

    @Test(arguments: [
        ("https://iam.example.com/auth/login", true), ("http://127.0.0.1:8080", true), ("https://[::1]:1/x", true),
        ("ftp://a.example", false), ("https://", false), ("https://user@a.example", false),
        ("https://a.example/#x", false),
        ("https://a.example/?x", false), ("//a.example", false), ("javascript:alert(1)", false), ("https://a b", false),
        ("https://a.example:0", false), ("https://a.example\\@evil.example", false), ("HTTPS://a.example", false),
    ])
    func `reads URLs`(text: String, isURL: Bool) {
        #expect(accepts(SettingType<String>.url, text) == isURL)
    }

    @Test(arguments: [
        ("a:b", true), ("api:*:read", true), ("*", true), ("api:rea*", false), ("a b", false), ("a\"b", false),
        ("", false),
    ])
    func `reads scopes`(text: String, isScope: Bool) {
        #expect(accepts(.scope, text) == isScope)
    }

    @Test(arguments: [
        ("%2F", 0x2F), ("%2f", 0x2F), ("%5C", 0x5C), ("%00", 0), ("%1F", 0x1F), ("%7F", 0x7F), ("%20", nil), ("/", nil),
        ("2F", nil), ("%2", nil), ("%2F%2F", nil), ("%41", nil), ("%+1", nil),
    ])
    func `reads encoded bytes`(text: String, expected: UInt8?) {
        #expect((try? SettingType<UInt8>.encodedByte.read(text)) == expected)
    }

    @Test(arguments: [
        ("gateway.db", "gateway.db"), ("sqlite:///gateway.db", "gateway.db"),
        ("sqlite:////var/lib/g.db", "/var/lib/g.db"),
        ("sqlite:g.db", "g.db"), ("sqlite://host/g.db", nil), ("sqlite:///:memory:", nil), (":memory:", nil),
        ("postgresql://u:hunter2@h/iam", nil), ("mysql+pymysql://u:hunter2@h/iam", nil),
        ("sqlite:///g.db?mode=memory", nil),
    ])
    func `reads database paths`(text: String, expected: String?) {
        #expect(shown(.databasePath, text) == expected)
    }

    @Test func `an engine that is not built is named, its password is not`() {
        let refusal = #expect(throws: Refusal.self) {
            try SettingType<String>.databasePath.read("postgresql://user:hunter2@postgres:5432/iam")
        }
        #expect(refusal?.message == "databases of the kind 'postgresql' are not built yet")
    }

    @Test func `a secret has 32 bytes at least`() {
        let random = "Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a"
        #expect(accepts(SettingType<Secret<[UInt8]>>.secret, random))
        #expect(!accepts(SettingType<Secret<[UInt8]>>.secret, String(random.dropLast())))
    }

    @Test(arguments: [
        "a-string-secret-at-least-256-bits-long", "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
        "your-256-bit-secret-your-256-bit-secret",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababababababababababababab",
        "0123456789abcdef0123456789abcdef", "this key: change in production, please!",
        "your-service-secret-0000-1111-2222-3333",
    ])
    func `a secret from a tutorial is refused, and not quoted`(text: String) {
        let refusal = #expect(throws: Refusal.self) { try SettingType<Secret<[UInt8]>>.secret.read(text) }
        #expect(refusal?.message == "the secret is a known sample or easy to guess")
    }

    @Test func `words of one edit are near, others are not`() {
        let known = ["head_timeout", "body_timeout", "address", "tls"]
        #expect(NearestName.nearest(to: "head_timout", among: known) == "head_timeout")
        #expect(NearestName.nearest(to: "adress", among: known) == "address")
        #expect(NearestName.nearest(to: "slt", among: known) == nil)
        #expect(NearestName.nearest(to: "tsl", among: known) == "tls")
        #expect(NearestName.nearest(to: "something", among: known) == nil)
        #expect(NearestName.nearest(to: String(repeating: "a", count: 100_000), among: known) == nil)
    }

    @Test(arguments: [
        ("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("abc", "abc", 0), ("ca", "abc", 3),
    ])
    func `counts edits`(left: String, right: String, edits: Int) {
        #expect(NearestName.distance(Array(left), Array(right)) == edits)
        #expect(NearestName.distance(Array(right), Array(left)) == edits)
    }
}
