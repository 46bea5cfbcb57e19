import Testing

@testable import Redis

@Suite struct RedisAddressTests {
    @Test func `addresses are laid out as the kernel reads them`() {
        #expect(
            RedisAddress(ip: "127.0.0.1", port: 6379)?.socketAddress
                == [2, 0, 0x18, 0xEB, 127, 0, 0, 1] + [UInt8](repeating: 0, count: 8))
        #expect(
            RedisAddress(ip: "::1", port: 1)?.socketAddress
                == [10, 0, 0, 1, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 15) + [1, 0, 0, 0, 0])
        #expect(RedisAddress(unixPath: "/a")?.socketAddress == [1, 0, 47, 97, 0])
    }

    @Test(arguments: ["", "localhost", "127.0.0.1:1", "[::1]", "1.2.3", "::1%lo"])
    func `what is no address is none`(text: String) { #expect(RedisAddress(ip: text, port: 1) == nil) }

    @Test func `a path has the room that the kernel gives it`() {
        #expect(RedisAddress(unixPath: String(repeating: "p", count: 107)) != nil)
        #expect(RedisAddress(unixPath: String(repeating: "p", count: 108)) == nil)
        #expect(RedisAddress(unixPath: "") == nil)
        #expect(RedisAddress(unixPath: "a\0b") == nil)
    }
}
