import Testing

@testable import HTTPModel

struct ByteTableTests {
    @Test func `agrees with the grammars of RFC 9110 and RFC 3986`() {
        let letters = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
        let digits = Set("0123456789".utf8)
        let token = Set("!#$%&'*+-.^_`|~".utf8).union(letters).union(digits)
        let unreserved = Set("-._~".utf8).union(letters).union(digits)
        let hostName = unreserved.union("!$&'()*+;=".utf8)
        let target = Set(UInt8(0x21)...0x7E).subtracting("#\\".utf8)
        for byte in UInt8.min...UInt8.max {
            #expect(ByteTable.has(byte, ByteTable.token) == token.contains(byte))
            #expect(ByteTable.has(byte, ByteTable.usual) == letters.union(digits).union([0x2D]).contains(byte))
            #expect(ByteTable.has(byte, ByteTable.target) == target.contains(byte))
            #expect(ByteTable.has(byte, ByteTable.unreserved) == unreserved.contains(byte))
            #expect(ByteTable.has(byte, ByteTable.hostName) == hostName.contains(byte))
            #expect(ByteTable.has(byte, ByteTable.plainPath) == target.subtracting("%?".utf8).contains(byte))
        }
    }
}
