// An OpenID provider for tests, on a loopback port. PROVIDER is JSON: port, conform (false: the
// id_token holds all claims, not only `sub`) and idTokenSeconds. Its keys are new at each start.
//
// POST /control with JSON sets `hubs`, the addresses that its clients may return to (the first one
// hears of logouts), and adds `people`, claims by account. Every account has every password.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';

const modules = process.env.MODULES;
const { default: Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const { default: Memory } = await import(`${modules}/oidc-provider/lib/adapters/memory_adapter.js`);
const settings = JSON.parse(process.env.PROVIDER || '{}');

let hubs = [];
const people = {
  alice: {
    preferred_username: 'alice', uid: 'alice', name: 'Alice Ångström', given_name: 'Alice',
    family_name: 'Ångström', email: 'alice@example.edu', email_verified: true,
    groups: ['students', 'numerics'], eduperson_principal_name: 'alice@example.edu',
    eduperson_scoped_affiliation: ['student@example.edu'],
  },
  teach1: {
    preferred_username: 'teach1', uid: 'teach1', name: 'Theresa Teacher',
    email: 'teach1@example.edu', email_verified: true, groups: ['staff'],
    eduperson_principal_name: 'teach1@example.edu',
    eduperson_scoped_affiliation: ['faculty@example.edu', 'member@example.edu'],
  },
  // Claims that are to be refused: alice's address, unverified, and a name that looks like hers.
  mallory: {
    preferred_username: 'alice ', uid: 'mallory', name: 'M', email: 'alice@example.edu',
    email_verified: false, groups: [],
  },
};

// A client's id says how it is to be treated: hub, hub--ES256, hub--RS256--client_secret_post.
function client(id) {
  const [name, algorithm = 'RS256', authentication = 'client_secret_basic'] = id.split('--');
  if (name !== 'hub' || hubs.length === 0) return undefined;
  return {
    client_id: id,
    ...(authentication === 'none' ? {} : { client_secret: 'hub-secret-for-tests-only-0123456789' }),
    token_endpoint_auth_method: authentication,
    id_token_signed_response_alg: algorithm,
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: hubs.map((hub) => `${hub}/auth/oidc/back`),
    post_logout_redirect_uris: hubs.map((hub) => `${hub}/login?bye=1`),
    backchannel_logout_uri: `${hubs[0]}/auth/oidc/backchannel-logout`,
    backchannel_logout_session_required: true,
  };
}

class Adapter extends Memory {
  async find(id) {
    return this.name === 'Client' ? client(id) : super.find(id);
  }

  constructor(name) {
    super(name);
    this.name = name;
  }
}

function newKeys() {
  const kinds = [
    ['rsa', { modulusLength: 2048 }, 'RS256'],
    ['rsa', { modulusLength: 2048 }, 'PS256'],
    ['ec', { namedCurve: 'P-256' }, 'ES256'],
    ['ed25519', {}, 'EdDSA'],
  ];
  return kinds.map(([kind, options, alg]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
    kid: `${alg}-${Date.now()}`,
  }));
}

const provider = new Provider(`http://127.0.0.1:${settings.port}`, {
  adapter: Adapter,
  // The default refuses loopback addresses, where the hubs of tests are.
  fetch: (url, { dispatcher, ...options } = {}) => globalThis.fetch(url, options),
  jwks: { keys: newKeys() },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'given_name', 'family_name', 'preferred_username', 'uid'],
    groups: ['groups'],
    eduperson: ['eduperson_principal_name', 'eduperson_scoped_affiliation'],
  },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'groups', 'eduperson'],
  conformIdTokenClaims: settings.conform !== false,
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    userinfo: { enabled: true },
  },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, ...people[id] }),
  }),
  ttl: {
    AccessToken: 600, AuthorizationCode: 60, Grant: 3600, Interaction: 600, Session: 3600,
    IdToken: settings.idTokenSeconds || 600,
  },
  cookies: { keys: ['test-only'] },
});
for (const event of ['authorization.error', 'grant.error', 'userinfo.error', 'server_error',
  'backchannel.error', 'end_session.error']) {
  provider.on(event, (_, error) => {
    console.log(event, error.message, error.error_description || '', error.error_detail || '');
  });
}
provider.on('backchannel.success', () => console.log('backchannel.success'));

const answer = provider.callback();
http.createServer(async (request, response) => {
  if (request.url !== '/control') return answer(request, response);
  let body = '';
  for await (const part of request) body += part;
  const told = JSON.parse(body);
  hubs = told.hubs || hubs;
  Object.assign(people, told.people);
  return response.end('{}');
}).listen(settings.port, '127.0.0.1');
