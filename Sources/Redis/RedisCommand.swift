/// A command as it goes over the wire: a RESP array of bulk strings, so that no argument can be taken for another.
public struct RedisCommand: Sendable {
    private(set) var bytes: [UInt8] = []
    private var missingArguments = 0

    /// A command from its words, the first of which is its name.
    public init(_ words: [String]) {
        begin(argumentCount: words.count)
        for word in words { append(word) }
    }

    /// An empty one, to be filled by `begin` and `append`, as often as its owner likes.
    public init() {}

    /// Starts over, with the count of words to come, the command's name included; keeps the memory.
    public mutating func begin(argumentCount: Int) {
        bytes.removeAll(keepingCapacity: true)
        missingArguments = argumentCount
        appendHeader(UInt8(ascii: "*"), argumentCount)
    }

    /// Appends an argument of any bytes.
    public mutating func append(_ argument: [UInt8]) {
        appendHeader(UInt8(ascii: "$"), argument.count)
        bytes.append(contentsOf: argument)
        endArgument()
    }

    /// Appends a text as UTF-8.
    public mutating func append(_ argument: String) {
        appendHeader(UInt8(ascii: "$"), argument.utf8.count)
        bytes.append(contentsOf: argument.utf8)
        endArgument()
    }

    /// Appends a number in decimal digits.
    public mutating func append(_ argument: Int) {
        appendHeader(UInt8(ascii: "$"), RedisCommand.digitCount(argument))
        appendDigits(argument)
        endArgument()
    }

    /// Whether the count that was announced is the count there is; anything else would garble the commands after it.
    var isComplete: Bool { missingArguments == 0 && !bytes.isEmpty }

    private mutating func endArgument() {
        appendLineEnd()
        missingArguments -= 1
    }

    private mutating func appendHeader(_ type: UInt8, _ count: Int) {
        bytes.append(type)
        appendDigits(count)
        appendLineEnd()
    }

    private mutating func appendLineEnd() {
        bytes.append(UInt8(ascii: "\r"))
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func appendDigits(_ number: Int) {
        if number < 0 { bytes.append(UInt8(ascii: "-")) }
        let start = bytes.count
        var rest = number.magnitude
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    private static func digitCount(_ number: Int) -> Int {
        var count = number < 0 ? 2 : 1
        var rest = number.magnitude / 10
        while rest > 0 {
            count += 1
            rest /= 10
        }
        return count
    }
}
