// The page after a registration: tells the platform's page, which opened this one, that it can close.

const { platform } = document.querySelector("#registered").dataset;

for (const page of new Set([window.opener, window.parent])) {
  if (page && page !== window) page.postMessage({ subject: "org.imsglobal.lti.close" }, platform);
}
