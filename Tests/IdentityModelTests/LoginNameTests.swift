import IdentityModel
import Testing

@Suite struct LoginNameTests {
    @Test(arguments: [
        "a", "john.doe", "John@Example.com", "o'brien", "a+b@c", "zo\u{EB}", "\u{5F20}\u{4E09}", "\u{D55C}\u{AE00}",
        "x_1-2",
        "!#$%&'*+-/=?^_`{|}~",
    ])
    func `accepts printing text without spaces`(text: String) {
        #expect(LoginName(text)?.text == text)
    }

    @Test(arguments: [
        "", " ", "a b", " a", "a ", "a\t", "a\n", "a\u{0}", "a\u{7F}", "a\u{A0}b", "a\u{200B}", "a\u{200D}b",
        "a\u{202E}b",
        "a\u{FEFF}", "zoe\u{308}", "a\u{2028}", "\u{FFFD}", "a\u{E000}", "a\u{1100}\u{1161}", "a\u{3164}", "\u{10FFFF}",
        "\u{1F600}",
    ])
    func `refuses what does not print, combines, or hides`(text: String) {
        #expect(LoginName(text) == nil)
    }

    @Test(arguments: [(254, true), (255, false)])
    func `a name has at most 254 bytes`(count: Int, isAccepted: Bool) {
        #expect((LoginName(String(repeating: "a", count: count)) != nil) == isAccepted)
    }

    @Test func `ASCII case makes no difference, other letters are compared as they are`() {
        #expect(LoginName("John@Example.COM") == LoginName("jOHN@eXAMPLE.com"))
        #expect(LoginName("John@Example.COM")?.canonical == "john@example.com")
        #expect(LoginName("\u{C9}mile") != LoginName("\u{E9}mile"))
        #expect(LoginName("[") != LoginName("{"))
        #expect(LoginName("@") != LoginName("`"))
    }
}
