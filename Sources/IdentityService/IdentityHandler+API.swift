internal import HTTPModel
internal import HTTPTypes
internal import IdentityModel
internal import JOSE
internal import Logging
internal import Storage

extension IdentityHandler {
    /// `POST /api/auth/login`
    ///
    /// Only a JSON body is read: another site's form cannot send one, and its script not without asking first.
    func apiSignIn(_ request: Request) async -> Response {
        guard RequestOrigin(request, isForm: false) != .foreign else {
            return Responses.error(.forbidden, "Cross-site request")
        }
        guard isJSON(request) else {
            return Responses.error(.unsupportedMediaType, "Content-Type must be application/json")
        }
        guard let body = try? JSONValue(parsing: request.body, bytesMax: IdentityHandler.bodyBytesMax),
            let username = body["username"]?.string, let password = body["password"]?.string
        else { return Responses.error(.badRequest, "Malformed request") }
        let time = now()
        switch await signIn.perform(attempt(request, username: username, password: Secret(password)), now: time) {
        case .signedIn(let token, let session, let user):
            return Responses.json(.ok, signedIn(user, token, session))
                .settingCookie(cookie(token, for: session, at: time))
        case .wrong: return Responses.error(.unauthorized, "Invalid credentials")
        case .limited(let wait): return Responses.error(.tooManyRequests, "Too many attempts").retryingAfter(wait)
        case .unavailable: return unavailable()
        }
    }

    /// `GET /api/auth/verify`
    func apiVerify(_ request: Request) async -> Response {
        do throws(StoreError) {
            switch try await presentedSession(request) {
            case .live(let session): return Responses.json(.ok, verified(session))
            case .none: return notSignedIn(request)
            case .dead: return notSignedIn(request).settingCookie(settings.cookie.clearing)
            }
        } catch {
            return failed(request, error)
        }
    }

    /// `POST /api/auth/logout`
    func apiSignOut(_ request: Request) async -> Response {
        guard RequestOrigin(request, isForm: false) != .foreign else {
            return Responses.error(.forbidden, "Cross-site request")
        }
        do throws(StoreError) {
            try await endPresentedSession(request)
            return Responses.json(.ok, ["status": "success", "message": "Logged out"])
                .settingCookie(settings.cookie.clearing)
        } catch {
            return failed(request, error)
        }
    }

    private func signedIn(_ user: User, _ token: SessionToken, _ session: Session) -> JSONObject {
        var members: [(String, JSONValue)] = [
            ("status", "success"),
            (
                "user",
                [
                    "user_id": .integer(user.id), "username": .string(user.username),
                    "display_name": .string(user.displayName), "email": user.email.map { .string($0) } ?? .null,
                    "roles": roleNames(user.roles),
                ]
            ),
        ]
        if settings.exposeSessionToken { members.append(("session_token", .string(token.text.reveal()))) }
        members.append(("expires_at", .string(utcTime(session.expiresAt))))
        return JSONObject(members)
    }

    private func verified(_ session: Session) -> JSONObject {
        [
            "authenticated": true,
            "user": [
                "user_id": .integer(session.userID), "username": .string(session.claims.username),
                "roles": roleNames(session.claims.roles),
            ],
        ]
    }

    /// A browser's script reads the member; a caller that presents a token expects the status.
    private func notSignedIn(_ request: Request) -> Response {
        let isBearer = request.head.headerFields[.authorization] != nil
        let isOK = settings.verifyWithoutSession == .ok && !isBearer
        return Responses.json(isOK ? .ok : .unauthorized, ["authenticated": false])
    }

    private func roleNames(_ roles: Set<Role>) -> JSONValue { .array(roles.sorted().map { .string($0.name) }) }

    private func failed(_ request: Request, _ error: StoreError) -> Response {
        logStoreError(request, error)
        return unavailable()
    }

    private func unavailable() -> Response {
        Responses.error(.serviceUnavailable, IdentityHandler.unavailableText)
            .retryingAfter(IdentityHandler.unavailableWait)
    }

    func logStoreError(_ request: Request, _ error: StoreError) {
        logger.error("identity.store.failed", metadata: ["request_id": "\(request.requestID)", "error": "\(error)"])
    }
}
