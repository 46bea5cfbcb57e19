import IdentityModel

/// A complete answer of the gateway's own, but for `Content-Length`, `Date` and connection fields.
struct Answer: Equatable, Sendable {
    struct Field: Equatable, Sendable {
        let name: String
        /// Bytes 0x20 to 0x7E only.
        let value: String

        init(_ name: String, _ value: String) {
            self.name = name
            self.value = AnswerText.fieldValue(value)
        }
    }

    let status: Int
    let reason: String
    var fields: [Field]
    /// Not to be sent in answer to HEAD.
    let body: [UInt8]
}

/// What an answer depends on besides its reason.
struct AnswerContext: Sendable {
    var requestID: String
    /// Whether a person waits in front of a browser, see `isNavigation`.
    var isNavigation: Bool
    /// Whether the method is GET or HEAD: only then can a redirect come back to the same request.
    var isRepeatable: Bool
    /// URL of the sign-in page; `nil` where the route accepts no session, so that signing in would not help.
    var signInURL: String?
    /// Where to come back to after signing in.
    var returnTarget: ReturnTarget?
    /// The protection space that `WWW-Authenticate` names (RFC 9110 section 11.5).
    var realm: String = "gateway"
}

extension Answer {
    /// The answer for this reason, as a page for navigation and as JSON for everything else.
    init(_ kind: AnswerKind, _ context: AnswerContext) {
        if kind == .credentialAbsent, context.isNavigation, context.isRepeatable, let signInURL = context.signInURL {
            self = .redirect(to: signInURL, returnTarget: context.returnTarget)
            return
        }
        status = kind.status
        reason = kind.reason
        var fields = [
            Field("Content-Type", context.isNavigation ? "text/html; charset=utf-8" : "application/json"),
            Field("X-Content-Type-Options", "nosniff"),
        ]
        fields += Answer.cacheFields
        if context.isNavigation {
            fields.append(Field("Content-Security-Policy", AnswerPage.contentSecurityPolicy))
            fields.append(Field("Referrer-Policy", "no-referrer"))
        }
        fields += Answer.specialFields(kind, context)
        self.fields = fields
        body = context.isNavigation ? AnswerPage.html(kind, context) : Answer.json(kind, context)
    }

    private static func redirect(to signInURL: String, returnTarget: ReturnTarget?) -> Answer {
        let location = returnTarget.map { $0.appended(to: signInURL) } ?? signInURL
        return Answer(
            status: 302, reason: "Found", fields: [Field("Location", location)] + cacheFields, body: [])
    }

    private static func specialFields(_ kind: AnswerKind, _ context: AnswerContext) -> [Field] {
        let bearer = "Bearer realm=\(AnswerText.quoted(context.realm))"
        switch kind {
        case .credentialAbsent:
            // RFC 6750 section 3.1: no error code where the request has no credential at all.
            return [Field("WWW-Authenticate", bearer)]
        case .credentialInvalid:
            return [Field("WWW-Authenticate", "\(bearer), error=\"invalid_token\"")]
        case .forbidden(let scopes, _):
            let list = scopes.map(\.name).sorted().joined(separator: " ")
            let scope = list.isEmpty ? "" : ", scope=\(AnswerText.quoted(list))"
            return [Field("WWW-Authenticate", "\(bearer), error=\"insufficient_scope\"\(scope)")]
        case .methodNotAllowed(let allow):
            return [Field("Allow", String(decoding: allow, as: UTF8.self))]
        case .overLimit(let retryAfter), .unavailable(let retryAfter):
            return [Field("Retry-After", "\(retryAfter.wholeSeconds(atLeast: 1))")]
        default:
            return []
        }
    }

    private static func json(_ kind: AnswerKind, _ context: AnswerContext) -> [UInt8] {
        var members = [("error", AnswerText.json(kind.code)), ("message", AnswerText.json(kind.message))]
        if kind.status == 401, let signInURL = context.signInURL {
            members.append(("login_url", AnswerText.json(signInURL)))
        }
        if case .forbidden(let scopes, let roles) = kind {
            members.append(("missing_scopes", AnswerText.json(scopes.map(\.name).sorted())))
            members.append(("missing_roles", AnswerText.json(roles.map(\.name).sorted())))
        }
        members.append(("request_id", AnswerText.json(context.requestID)))
        return Array(("{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}\n").utf8)
    }

    /// What the form of an answer depends on, should something keep it in spite of `no-store`.
    private static let cacheFields = [
        Field("Cache-Control", "no-store"),
        Field("Vary", "Accept, Authorization, Cookie, Sec-Fetch-Mode, X-Requested-With"),
    ]
}

extension Duration {
    /// Seconds, rounded up, as `Retry-After` counts (RFC 9110 section 10.2.3).
    func wholeSeconds(atLeast minimum: Int64) -> Int64 {
        let (seconds, attoseconds) = components
        return max(minimum, attoseconds > 0 ? seconds + 1 : seconds)
    }
}
