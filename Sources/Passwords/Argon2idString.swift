/// An Argon2id hash in the PHC string format: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
///
/// The text was checked part by part, so that the C library only ever sees what this grammar allows.
public struct Argon2idString: Sendable, Equatable {
    /// The whole string.
    public let text: String
    /// The cost it was made with.
    public let parameters: Argon2Parameters
    let saltBytes: Int
    let hashBytes: Int

    /// `nil` for any other format or version, and for a cost outside of `Argon2Parameters`.
    public init?(_ text: String) {
        guard text.utf8.count <= Argon2idString.bytesMax else { return nil }
        let parts = text.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 6, parts[0].isEmpty, parts[1] == "argon2id", parts[2] == "v=19",
            let parameters = Argon2idString.parameters(parts[3]),
            let saltBytes = Argon2idString.base64Bytes(parts[4]), (8...64).contains(saltBytes),
            let hashBytes = Argon2idString.base64Bytes(parts[5]), (16...64).contains(hashBytes)
        else { return nil }
        self.text = text
        self.parameters = parameters
        self.saltBytes = saltBytes
        self.hashBytes = hashBytes
    }

    /// Whether a hash made today would differ in more than its salt.
    func isOutdated(for current: Argon2Parameters) -> Bool {
        parameters != current || saltBytes < Argon2idString.saltBytes || hashBytes < Argon2idString.hashBytes
    }

    static let saltBytes = 16
    static let hashBytes = 32
    private static let bytesMax = 256

    private static func parameters(_ text: Substring) -> Argon2Parameters? {
        let values = text.split(separator: ",", omittingEmptySubsequences: false)
        guard values.count == 3, let memory = number(values[0], after: "m="),
            let passes = number(values[1], after: "t="),
            let lanes = number(values[2], after: "p=")
        else { return nil }
        return Argon2Parameters(memoryKiB: memory, passes: passes, lanes: lanes)
    }

    private static func number(_ text: Substring, after name: String) -> UInt32? {
        guard text.hasPrefix(name) else { return nil }
        let digits = text.dropFirst(name.count)
        guard let first = digits.utf8.first, (UInt8(ascii: "1")...UInt8(ascii: "9")).contains(first),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return UInt32(digits)
    }

    /// How many bytes unpadded base64 stands for; `nil` when it is none.
    private static func base64Bytes(_ text: Substring) -> Int? {
        guard text.utf8.count % 4 != 1, text.utf8.allSatisfy(isBase64Byte) else { return nil }
        return text.utf8.count * 3 / 4
    }

    private static func isBase64Byte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
            true
        default: false
        }
    }
}
