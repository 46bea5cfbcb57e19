internal import HTTPModel
internal import HTTPTypes
internal import JOSE

/// The kinds of responses that the service gives; each carries what it must whatever the occasion.
enum Responses {
    /// A JSON object that nobody may keep.
    static func json(_ status: HTTPResponse.Status, _ object: JSONObject) -> Response {
        var response = bare(status, type: "application/json")
        response.body = object.encoded()
        return response
    }

    /// The error shape of the API.
    static func error(_ status: HTTPResponse.Status, _ message: String) -> Response {
        json(status, ["status": "error", "message": .string(message)])
    }

    /// A page. `formTarget` is where its form may lead in the end: browsers hold redirects of a form's answer against
    /// the policy of the page too.
    static func page(
        _ status: HTTPResponse.Status, title: String, formTarget: ReturnTarget = .home, _ content: HTML
    ) -> Response {
        let nonce = Base64URL.encode(randomBytes(16))
        var response = bare(status, type: "text/html; charset=utf-8")
        let formTargets = ["'self'", formTarget.origin].compactMap(\.self).joined(separator: " ")
        response.head.headerFields[.contentSecurityPolicy] =
            "default-src 'none'; style-src 'nonce-\(nonce)'; form-action \(formTargets); "
            + "frame-ancestors 'none'; base-uri 'none'"
        response.head.headerFields[.referrerPolicy] = "no-referrer"
        response.body = Array(Pages.document(title: title, nonce: nonce, content).text.utf8)
        return response
    }

    /// Sends the browser on, with GET.
    static func redirect(to target: ReturnTarget) -> Response {
        var response = bare(.seeOther, type: nil)
        response.head.headerFields[.location] = target.location
        response.head.headerFields[.referrerPolicy] = "no-referrer"
        return response
    }

    private static func bare(_ status: HTTPResponse.Status, type: String?) -> Response {
        var head = HTTPResponse(status: status)
        head.headerFields[.contentType] = type
        head.headerFields[.cacheControl] = "no-store"
        head.headerFields[.xContentTypeOptions] = "nosniff"
        // A 401 without this field is none (RFC 9110 section 15.5.2); browsers show no dialogue for this scheme.
        if status == .unauthorized { head.headerFields[.wwwAuthenticate] = "Bearer" }
        return Response(head: head)
    }
}

extension Response {
    /// Adds a `Set-Cookie` field.
    func settingCookie(_ value: String) -> Response {
        var response = self
        response.head.headerFields.append(HTTPField(name: .setCookie, value: value))
        return response
    }

    /// Adds `Retry-After`, in whole seconds, rounded up.
    func retryingAfter(_ wait: Duration) -> Response {
        var response = self
        let (seconds, rest) = wait.components
        response.head.headerFields[.retryAfter] = String(max(1, seconds + (rest > 0 ? 1 : 0)))
        return response
    }
}
