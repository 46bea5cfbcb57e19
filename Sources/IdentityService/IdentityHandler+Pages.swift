internal import HTTPModel
internal import HTTPTypes
internal import IdentityModel

extension IdentityHandler {
    /// `GET /auth/login`
    ///
    /// Whoever is signed in already sees so, and is not sent on at once: where an application does not accept the
    /// session, the two would send the browser to each other for ever.
    func signInPage(_ request: Request, _ query: Substring) async -> Response {
        let target = settings.allowedReturn.target(FormFields(query.utf8)?["rd"])
        var currentUser: String?
        do throws(StoreError) {
            if case .live(let session) = try await presentedSession(request) { currentUser = session.claims.username }
        } catch {
            logStoreError(request, error)  // only the hint is missing then
        }
        return signInForm(.ok, request, target, problem: nil, currentUser: currentUser)
    }

    /// `POST /auth/login`
    func submitSignIn(_ request: Request) async -> Response {
        let form = FormFields(request.body) ?? .none
        let target = settings.allowedReturn.target(form["rd"])
        guard isForm(request), let username = form["username"], let password = form["password"] else {
            return signInForm(.badRequest, request, target, problem: "Please fill in both fields.")
        }
        guard isOurForm(request, form, .signIn) else {
            return signInForm(.forbidden, request, target, problem: staleFormText)
        }
        let time = now()
        switch await signIn.perform(attempt(request, username: username, password: Secret(password)), now: time) {
        case .signedIn(let token, let session, _):
            return Responses.redirect(to: target).settingCookie(cookie(token, for: session, at: time))
        case .wrong:
            return signInForm(
                .unauthorized, request, target, problem: "The name or the password is not right.")
        case .limited(let wait):
            return signInForm(
                .tooManyRequests, request, target, problem: "Too many attempts. Please wait a minute and try again."
            ).retryingAfter(wait)
        case .unavailable:
            return signInForm(
                .serviceUnavailable, request, target, problem: IdentityHandler.unavailableText + "."
            ).retryingAfter(IdentityHandler.unavailableWait)
        }
    }

    /// `GET /auth/logout`: a link must not sign anyone out, so this only asks.
    func signOutPage(_ request: Request, _ query: Substring) -> Response {
        signOutForm(.ok, request, settings.allowedReturn.target(FormFields(query.utf8)?["rd"]))
    }

    /// `POST /auth/logout`
    func submitSignOut(_ request: Request) async -> Response {
        let form = FormFields(request.body) ?? .none
        let target = settings.allowedReturn.target(form["rd"])
        guard isForm(request), isOurForm(request, form, .signOut) else {
            return signOutForm(.forbidden, request, target)
        }
        do throws(StoreError) {
            try await endPresentedSession(request)
        } catch {
            logStoreError(request, error)
            return Responses.page(
                .serviceUnavailable, title: "Not signed out",
                Pages.message("You are still signed in", IdentityHandler.unavailableText + ".")
            ).retryingAfter(IdentityHandler.unavailableWait)
        }
        let response =
            target == .home
            ? Responses.page(.ok, title: "Signed out", Pages.message("You are signed out", "See you soon."))
            : Responses.redirect(to: target)
        return response.settingCookie(settings.cookie.clearing)
    }

    private func signInForm(
        _ status: HTTPResponse.Status, _ request: Request, _ target: ReturnTarget, problem: String?,
        currentUser: String? = nil
    ) -> Response {
        let flow = currentFlow(request)
        let page = Pages.SignIn(
            target: target, formToken: forms.token(for: flow, .signIn, now: now()), problem: problem,
            currentUser: currentUser)
        return Responses.page(status, title: "Sign in", formTarget: target, Pages.signIn(page))
            .settingCookie(flowCookie(flow))
    }

    private func signOutForm(_ status: HTTPResponse.Status, _ request: Request, _ target: ReturnTarget) -> Response {
        let flow = currentFlow(request)
        let token = forms.token(for: flow, .signOut, now: now())
        return Responses.page(
            status, title: "Sign out", formTarget: target, Pages.confirmSignOut(target: target, formToken: token)
        ).settingCookie(flowCookie(flow))
    }

    /// Whether the form was made by us, lately, for this browser.
    ///
    /// Normally the cookie shows the browser. Several tabs that open the form at the same moment get a cookie each,
    /// of which one survives; there the browser's own word that the form stood on our page does as well.
    private func isOurForm(_ request: Request, _ form: FormFields, _ purpose: FormPurpose) -> Bool {
        let origin = RequestOrigin(request, isForm: true)
        guard origin != .foreign, let token = form["csrf"], let flow = forms.flow(of: token, purpose, now: now())
        else { return false }
        let isSameOriginByBrowser = request.head.headerFields[.secFetchSite] == "same-origin"
        return flow == presentedFlow(request) || isSameOriginByBrowser
    }

    /// The browser's flow, kept as long as it has one, so that forms in several tabs stay good.
    private func currentFlow(_ request: Request) -> FlowID { presentedFlow(request) ?? .random() }

    private func presentedFlow(_ request: Request) -> FlowID? {
        RequestCookies(request)[flowCookieName].flatMap { FlowID($0) }
    }

    private func flowCookie(_ flow: FlowID) -> String {
        "\(flowCookieName)=\(flow.text); Path=/; Max-Age=\(FormTokens.lifetimeSeconds)"
            + (settings.cookie.isSecure ? "; Secure" : "") + "; HttpOnly; SameSite=Lax"
    }

    /// Without its prefix: the cookie that ties a form to the browser it was shown in.
    public static let formCookieName = "gateway_login"

    private var flowCookieName: String {
        settings.cookie.isSecure ? "__Host-\(IdentityHandler.formCookieName)" : IdentityHandler.formCookieName
    }
    private var staleFormText: String {
        "This form had been open for too long, or came from elsewhere. Please try again."
    }
}
