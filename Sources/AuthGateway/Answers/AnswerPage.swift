import IdentityModel

/// The page that a person sees: one document, no script, nothing fetched.
enum AnswerPage {
    static func html(_ kind: AnswerKind, _ context: AnswerContext) -> [UInt8] {
        let title = AnswerText.html("\(kind.status) \(kind.reason)")
        let page = """
            <!doctype html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width">
            <title>\(title)</title>
            <style>\(style)</style>
            <h1>\(title)</h1>
            <p>\(AnswerText.html(kind.message))</p>
            \(missing(kind))\(signInLink(kind, context))<footer>Request <code>\(AnswerText.html(context.requestID))</code></footer>
            </html>

            """
        return Array(page.utf8)
    }

    /// Only the page's own style applies, known by its digest (CSP level 3, section 6.7.3.2).
    static let contentSecurityPolicy =
        "default-src 'none'; style-src 'sha256-\(styleDigest)'; base-uri 'none'; form-action 'none'; "
        + "frame-ancestors 'none'"

    private static func missing(_ kind: AnswerKind) -> String {
        guard case .forbidden(let scopes, let roles) = kind else { return "" }
        return list("Missing scopes", scopes.map(\.name)) + list("Missing roles", roles.map(\.name))
    }

    private static func list(_ title: String, _ names: [String]) -> String {
        guard !names.isEmpty else { return "" }
        let items = names.sorted().map { "<li><code>\(AnswerText.html($0))</code></li>" }.joined()
        return "<p>\(title):</p><ul>\(items)</ul>\n"
    }

    /// A form that was sent without a session cannot be repeated by a redirect; a link is offered in its place.
    private static func signInLink(_ kind: AnswerKind, _ context: AnswerContext) -> String {
        guard kind.status == 401, let url = context.signInURL, ReturnTarget.isWebURL(url) else { return "" }
        return "<p><a href=\"\(AnswerText.html(url))\">Sign in</a></p>\n"
    }

    static let style =
        "body{margin:15vh auto;max-width:34rem;padding:0 1.5rem;font:1rem/1.5 system-ui,sans-serif;color:#1c2430;"
        + "background:#fff}h1{font-size:1.5rem}code{font-size:.875rem;overflow-wrap:anywhere}"
        + "footer{margin-top:3rem;color:#5a6472}@media(prefers-color-scheme:dark){body{color:#e6e9ee;"
        + "background:#14181f}footer{color:#9aa4b2}a{color:#8ab4f8}}"

    /// Base64 of the style's SHA-256. A test computes it anew.
    static let styleDigest = "yYDxz9tx+yYR3VU+23h3Thtkzlokt/JofZQWILZXrew="
}
