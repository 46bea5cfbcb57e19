import IdentityModel
import Testing

@Suite struct SubjectTests {
    @Test func `two spellings that Unicode calls equivalent are two subjects`() {
        let composed = Subject(issuer: "https://iam.example", identifier: "\u{E9}")
        let decomposed = Subject(issuer: "https://iam.example", identifier: "e\u{301}")
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(composed == Subject(issuer: "https://iam.example", identifier: "\u{E9}"))
    }

    @Test func `the same identifier of two issuers is two subjects`() {
        #expect(Subject(issuer: "a", identifier: "admin") != Subject(issuer: "b", identifier: "admin"))
    }
}
