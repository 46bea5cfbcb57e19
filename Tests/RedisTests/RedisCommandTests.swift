import Testing

@testable import Redis

@Suite struct RedisCommandTests {
    @Test(arguments: [
        (["PING"], "*1\r\n$4\r\nPING\r\n"),
        (["GET", ""], "*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
        (["SET", "a\r\nDEL b", "c d"], "*3\r\n$3\r\nSET\r\n$8\r\na\r\nDEL b\r\n$3\r\nc d\r\n"),
    ])
    func `words become bulk strings, whatever they hold`(words: [String], wire: String) {
        #expect(RedisCommand(words).bytes == Array(wire.utf8))
    }

    @Test(arguments: [0, 9, 10, 99, 100, 12_345, Int.max, -1, -9, -10, Int.min])
    func `numbers are written as their decimal digits`(number: Int) {
        var command = RedisCommand()
        command.begin(argumentCount: 1)
        command.append(number)
        #expect(command.bytes == RedisCommand(["\(number)"]).bytes)
    }

    @Test func `a command that is begun again holds nothing of the one before`() {
        var command = RedisCommand(["GET", "old"])
        command.begin(argumentCount: 2)
        command.append("GET")
        #expect(!command.isComplete)
        command.append([0, 255])
        #expect(command.isComplete)
        #expect(command.bytes == Array("*2\r\n$3\r\nGET\r\n$2\r\n".utf8) + [0, 255, 13, 10])
    }

    @Test func `a command without words is not complete`() { #expect(!RedisCommand().isComplete) }
}
