import HTTPModel
import Testing

struct HostNameTests {
    @Test(
        arguments: [
            ("app.example.com", "app.example.com", nil), ("App.EXAMPLE.com.", "app.example.com", nil),
            ("a:80", "a", 80), ("a.:8443", "a", 8443),
            ("A..", "a.", nil), ("127.0.0.1:65535", "127.0.0.1", 65535), ("[::1]", "[::1]", nil),
            ("[FE80::A]:0", "[fe80::a]", 0),
            (String(repeating: "A", count: 254) + ".:1", String(repeating: "a", count: 254), 1),
            ("x_Y-z", "x_y-z", nil),
        ] as [(String, String, UInt16?)])
    func `R08 R11 R49 compares hosts without case, dot and port`(authority: String, name: String, port: UInt16?) {
        var host = HostName()
        let isSound = host.read(bytes(authority).span)
        #expect(isSound)
        #expect(string(host.bytes) == name)
        #expect(host.port == port)
    }

    @Test(arguments: [
        "", ".", ":80", "a:", "a:65536", "a:x", "a b", "[::1", "u@a", "a/b", String(repeating: "a", count: 256),
    ])
    func `holds nothing after an unsound authority`(authority: String) {
        var host = HostName()
        let results = [host.read(bytes("before.example:7").span), host.read(bytes(authority).span)]
        #expect(results == [true, false])
        #expect(string(host.bytes) == "")
        #expect(host.port == nil)
    }
}
