/// A password as someone typed it: 1 to 256 bytes, any of them, NUL included.
///
/// Longer ones are refused before anything is hashed, so that nobody can buy CPU time with a long body.
public struct Password: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    let bytes: [UInt8]

    /// `nil` when there are no bytes or more than 256.
    public init?(_ bytes: [UInt8]) {
        guard (1...Password.bytesMax).contains(bytes.count) else { return nil }
        self.bytes = bytes
    }

    /// The text's UTF-8 as it stands: no trimming, no normalisation, no change of case.
    public init?(_ text: String) { self.init(Array(text.utf8)) }

    /// `<password>`, as everywhere that it might be printed.
    public var description: String { "<password>" }
    /// `<password>`.
    public var debugDescription: String { "<password>" }
    /// Shows no members.
    public var customMirror: Mirror { Mirror(self, children: []) }

    static let bytesMax = 256
}
