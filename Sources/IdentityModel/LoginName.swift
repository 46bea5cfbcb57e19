/// A name to sign in with, a username or an e-mail address, together with the form in which names are compared.
///
/// Two spellings that differ in the case of ASCII letters are one name. Only printing characters that have a single
/// spelling are accepted: no spaces, no invisible or unassigned characters, and no combining marks (an accented
/// letter is one character), so that two names which look alike are rarely two names.
public struct LoginName: Hashable, Sendable {
    /// The name as it was given, 1 to 254 bytes.
    public let text: String
    /// What the store compares, and what attempts to sign in are counted by.
    public let canonical: String

    /// `nil` when the text cannot be anybody's name.
    public init?(_ text: String) {
        guard (1...LoginName.bytesMax).contains(text.utf8.count), text.unicodeScalars.allSatisfy(LoginName.isAllowed)
        else { return nil }
        self.text = text
        self.canonical = LoginName.folded(text)
    }

    /// Whether it has the form of an e-mail address: exactly one `@`, and text on both sides of it.
    public var isEmail: Bool {
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        return parts.count == 2 && parts.allSatisfy { !$0.isEmpty }
    }

    /// By the canonical form, byte for byte.
    public static func == (left: LoginName, right: LoginName) -> Bool {
        left.canonical.utf8.elementsEqual(right.canonical.utf8)
    }

    /// By the canonical form.
    public func hash(into hasher: inout Hasher) { hasher.combine(canonical) }

    static let bytesMax = 254  // the longest address that mail can carry (RFC 5321 section 4.5.3.1.3)

    private static func folded(_ text: String) -> String {
        String(decoding: text.utf8.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
    }

    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (0x21...0x7E).contains(scalar.value) }
        if scalar == "\u{FFFD}" { return false }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber:
            // Hangul letters that combine into syllables have two spellings.
            return !(0x1100...0x11FF).contains(scalar.value) && !(0xA960...0xA97F).contains(scalar.value)
                && !(0xD7B0...0xD7FF).contains(scalar.value)
                && !scalar.properties.isDefaultIgnorableCodePoint
        default: return false
        }
    }
}
