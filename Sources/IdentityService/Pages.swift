internal import HTTPTypes
internal import Storage

/// The pages that people see. They work without scripts, and load nothing.
enum Pages {
    /// What the sign-in page shows besides its two fields.
    struct SignIn {
        /// The place to go to afterwards.
        var target: ReturnTarget
        /// The hidden field.
        var formToken: String
        /// Why the last attempt failed.
        var problem: String?
        /// Who the browser is signed in as already.
        var currentUser: String?
    }

    static func signIn(_ page: SignIn) -> HTML {
        """
        <h1>Sign in</h1>
        \(page.problem.map { "<p class=\"problem\" role=\"alert\">\($0)</p>" })
        \(page.currentUser.map { current($0, page.target) })
        <form method="post" action="/auth/login">
        <label for="username">Username or e-mail</label>
        <input id="username" name="username" type="text" autocomplete="username" autocapitalize="none" \
        spellcheck="false" maxlength="254" required autofocus>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required>
        <input name="rd" type="hidden" value="\(page.target.location)">
        <input name="csrf" type="hidden" value="\(page.formToken)">
        <button type="submit">Sign in</button>
        </form>
        """
    }

    static func confirmSignOut(target: ReturnTarget, formToken: String) -> HTML {
        """
        <h1>Sign out?</h1>
        <p>You will be signed out of every application behind this sign-in.</p>
        <form method="post" action="/auth/logout">
        <input name="rd" type="hidden" value="\(target.location)">
        <input name="csrf" type="hidden" value="\(formToken)">
        <button type="submit">Sign out</button>
        </form>
        """
    }

    static func message(_ title: String, _ text: String) -> HTML {
        """
        <h1>\(title)</h1>
        <p>\(text)</p>
        <p><a href="/auth/login">Go to the sign-in page</a></p>
        """
    }

    /// The whole document around a page's content. `nonce` is the one of the response's content security policy.
    static func document(title: String, nonce: String, _ content: HTML) -> HTML {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>\(title)</title>
        <style nonce="\(nonce)">\(stylesheet)</style>
        </head>
        <body>
        <main>
        \(content)
        </main>
        </body>
        </html>

        """
    }

    private static func current(_ username: String, _ target: ReturnTarget) -> HTML {
        """
        <p class="note">You are signed in as <strong>\(username)</strong>.
        <a href="\(target.location)">Continue</a>, or sign in as someone else:</p>
        """
    }

    private static let stylesheet: HTML = """
        :root { --ink: #1b1f24; --paper: #f4f5f7; --card: #fff; --line: #8a929c; --accent: #1f5fbf; --bad: #a31621 }
        @media (prefers-color-scheme: dark) {
        :root { --ink: #e8eaed; --paper: #15181c; --card: #20242a; --line: #7d8590; --accent: #7fb0ff; --bad: #ff9aa2 }
        button { color: #10141a !important }
        }
        * { box-sizing: border-box }
        body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; color: var(--ink);
        background: var(--paper); font: 1rem/1.5 system-ui, sans-serif }
        main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--card); border-radius: .75rem;
        box-shadow: 0 1px 6px #0003 }
        h1 { margin: 0 0 1rem; font-size: 1.5rem }
        label { display: block; margin: 1rem 0 .25rem; font-weight: 600 }
        input { width: 100%; padding: .6rem; font: inherit; color: inherit; background: transparent;
        border: 1px solid var(--line); border-radius: .4rem }
        button { width: 100%; margin-top: 1.5rem; padding: .7rem; font: inherit; font-weight: 600; color: #fff;
        background: var(--accent); border: 0; border-radius: .4rem; cursor: pointer }
        a { color: var(--accent) }
        :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
        .problem { padding: .6rem .8rem; color: var(--bad); border: 1px solid; border-radius: .4rem }
        """
}
