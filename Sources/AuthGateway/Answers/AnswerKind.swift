import IdentityModel

/// Why the gateway answers by itself.
enum AnswerKind: Equatable, Sendable {
    case badRequest
    case credentialAbsent
    case credentialInvalid
    /// Signed in, and something is missing.
    case forbidden(scopes: Set<Scope>, roles: Set<Role>)
    case notFound
    /// The methods that the route allows, as `Allow` has them.
    case methodNotAllowed(allow: [UInt8])
    case requestTimeout
    case contentTooLarge
    case targetTooLong
    case expectationFailed
    case misdirected
    /// How long until the next request may pass.
    case overLimit(retryAfter: Duration)
    case headTooLarge
    case internalError
    case notImplemented
    case badGateway
    /// A store, a queue or a pool cannot serve now; how long to wait.
    case unavailable(retryAfter: Duration)
    case gatewayTimeout
    case versionNotSupported

    /// What a decision that does not allow is answered with.
    init?(_ decision: Decision) {
        switch decision {
        case .allow: return nil
        case .challenge(.credentialAbsent): self = .credentialAbsent
        case .challenge(.credentialInvalid): self = .credentialInvalid
        case .deny(let scopes, let roles): self = .forbidden(scopes: scopes, roles: roles)
        }
    }

    /// The answer to a request that could not be read, by the status of its error; 400 for one without an answer here.
    init(errorStatus: Int) {
        switch errorStatus {
        case 408: self = .requestTimeout
        case 413: self = .contentTooLarge
        case 414: self = .targetTooLong
        case 417: self = .expectationFailed
        case 421: self = .misdirected
        case 431: self = .headTooLarge
        case 500: self = .internalError
        case 501: self = .notImplemented
        case 502: self = .badGateway
        case 504: self = .gatewayTimeout
        case 505: self = .versionNotSupported
        default: self = .badRequest
        }
    }

    /// The status code (RFC 9110 section 15, RFC 6585).
    var status: Int { words.status }

    /// The status line's text.
    var reason: String { words.reason }

    /// The member `error` of the JSON body: for programs, never changed.
    var code: String { words.code }

    /// One sentence for people. Says nothing of what the gateway knows beyond the request itself.
    var message: String { words.message }

    private var words: (status: Int, reason: String, code: String, message: String) {
        switch self {
        case .badRequest: (400, "Bad Request", "bad_request", "The request could not be understood.")
        case .credentialAbsent: (401, "Unauthorized", "authentication_required", "Please sign in first.")
        case .credentialInvalid:
            (401, "Unauthorized", "invalid_token", "The credential sent with the request is not valid.")
        case .forbidden: (403, "Forbidden", "insufficient_scope", "You are signed in, but not permitted to do this.")
        case .notFound: (404, "Not Found", "not_found", "There is nothing at this address.")
        case .methodNotAllowed:
            (405, "Method Not Allowed", "method_not_allowed", "This method is not allowed at this address.")
        case .requestTimeout: (408, "Request Timeout", "request_timeout", "The request took too long to arrive.")
        case .contentTooLarge: (413, "Content Too Large", "content_too_large", "The request's body is too large.")
        case .targetTooLong: (414, "URI Too Long", "uri_too_long", "The address is too long.")
        case .expectationFailed:
            (417, "Expectation Failed", "expectation_failed", "The request expects what is not offered here.")
        case .misdirected:
            (421, "Misdirected Request", "misdirected_request", "This host is not served over this connection.")
        case .overLimit: (429, "Too Many Requests", "too_many_requests", "Too many requests; please wait a moment.")
        case .headTooLarge:
            (431, "Request Header Fields Too Large", "header_fields_too_large", "The request's header is too large.")
        case .internalError: (500, "Internal Server Error", "internal_error", "Something went wrong here.")
        case .notImplemented:
            (501, "Not Implemented", "not_implemented", "The request asks for what is not offered here.")
        case .badGateway: (502, "Bad Gateway", "bad_gateway", "The application did not give a usable answer.")
        case .unavailable:
            (503, "Service Unavailable", "service_unavailable", "The service cannot answer now; please try again soon.")
        case .gatewayTimeout: (504, "Gateway Timeout", "gateway_timeout", "The application did not answer in time.")
        case .versionNotSupported:
            (505, "HTTP Version Not Supported", "http_version_not_supported", "This version of HTTP is not supported.")
        }
    }
}
