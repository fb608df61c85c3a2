// A Firefox of puppeteer, with a camera and a microphone that are not there. It reaches others on this machine.
import puppeteer from 'puppeteer-core';
import { patience } from '../../scripts/harness.mjs';

export const launchFirefox = (preferences = {}) =>
  puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    extraPrefsFirefox: {
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'intl.accept_languages': 'en',
      ...preferences,
    },
  });

/** A page of it; what its scripts complain about comes into errors. */
export async function firefoxPage(firefox, errors) {
  const page = await firefox.newPage();
  page.setDefaultTimeout(patience);
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });
  return page;
}
